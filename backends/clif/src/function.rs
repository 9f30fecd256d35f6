//! One function through Cranelift: a builder with our vocabulary (symbols by name, addresses, loops), and its translation into a
//! symbol of `artifact`. It refuses to know what the function is for.

use artifact::{Machine, Relocation, RelocationKind, Symbol};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Imm64;
use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, FuncRef, Function, GlobalValueData, InstBuilder, MemFlagsData, SigRef, Signature,
    StackSlotData, StackSlotKind, Type, UserExternalName, UserFuncName, Value, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{CodegenError, Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use ir::fault::Fault;

/// All addresses and sizes.
pub(crate) const I64: Type = types::I64;
pub(crate) const I32: Type = types::I32;

/// A function under construction. `b` is Cranelift's own builder, for what has no word here.
pub(crate) struct Body<'a> {
    pub b: FunctionBuilder<'a>,
    /// Symbols by the number that Cranelift knows them by.
    symbols: Vec<String>,
}

/// Compiles the function `name` that `build` fills; it starts in its entry block with the parameters as values.
/// Fault: more code than Cranelift can hold in one function. Panics on code that breaks Cranelift's rules: our fault.
pub(crate) fn function(
    isa: &OwnedTargetIsa,
    machine: Machine,
    name: &str,
    params: &[Type],
    results: &[Type],
    build: impl FnOnce(&mut Body, &[Value]),
) -> Result<Symbol, Fault> {
    let mut clif = Function::with_name_signature(UserFuncName::default(), signature(params, results));
    let mut context = FunctionBuilderContext::new();
    let mut body = Body { b: FunctionBuilder::new(&mut clif, &mut context), symbols: Vec::new() };
    let block = body.b.create_block();
    body.b.append_block_params_for_function_params(block);
    body.b.switch_to_block(block);
    let values = body.b.block_params(block).to_vec();
    build(&mut body, &values);
    body.b.seal_all_blocks();
    let Body { b, symbols } = body;
    b.finalize(isa.frontend_config());

    let mut context = Context::for_function(clif);
    if let Err(e) = context.compile(&**isa, &mut Default::default()) {
        match e.inner {
            CodegenError::CodeTooLarge | CodegenError::ImplLimitExceeded => {
                return Err(Fault::limit(format!("the function `{name}` is too large to compile")));
            }
            other => panic!("`{name}` does not compile: {other:?}\n{}", e.func.display()),
        }
    }
    let compiled = context.compiled_code().expect("it was just compiled");
    let bytes = compiled.buffer.data().to_vec();
    let align = compiled.buffer.alignment.max(16);
    let names = context.func.params.user_named_funcs();
    let relocations = compiled.buffer.relocs().iter().map(|r| {
        let FinalizedRelocTarget::ExternalName(ExternalName::User(user)) = &r.target else {
            panic!("`{name}` calls a library: {:?}", r.target);
        };
        let symbol = symbols[names[*user].index as usize].clone();
        let kind = match (machine, r.kind) {
            (Machine::X86_64, Reloc::X86PCRel4 | Reloc::X86CallPCRel4) => RelocationKind::X86Pc32,
            (Machine::Aarch64, Reloc::Arm64Call) => RelocationKind::Aarch64Call26,
            (Machine::Aarch64, Reloc::Aarch64AdrPrelPgHi21) => RelocationKind::Aarch64AdrPage21,
            (Machine::Aarch64, Reloc::Aarch64AddAbsLo12Nc) => RelocationKind::Aarch64AddLo12,
            (_, kind) => panic!("`{name}` refers to `{symbol}` by {kind:?}"),
        };
        Relocation { offset: r.offset, kind, symbol, addend: r.addend }
    });
    let relocations = relocations.collect();
    Ok(Symbol::function(name, align, bytes, relocations))
}

fn signature(params: &[Type], results: &[Type]) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(params.iter().map(|ty| AbiParam::new(*ty)));
    signature.returns.extend(results.iter().map(|ty| AbiParam::new(*ty)));
    signature
}

/// Memory that is there; nothing said about alignment or who else writes it.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Body<'_> {
    pub fn int(&mut self, ty: Type, value: i64) -> Value {
        // Cranelift wants the bits beyond the type clear
        let value = if ty.bits() < 64 { value & ((1 << ty.bits()) - 1) } else { value };
        self.b.ins().iconst(ty, value)
    }

    pub fn long(&mut self, value: i64) -> Value {
        self.int(I64, value)
    }

    pub fn load(&mut self, ty: Type, base: Value, offset: i32) -> Value {
        self.b.ins().load(ty, memory(), base, offset)
    }

    /// 16 bits extended with zeros.
    pub fn load_u16(&mut self, base: Value, offset: i32) -> Value {
        self.b.ins().uload16(I64, memory(), base, offset)
    }

    /// 32 bits extended with zeros.
    pub fn load_u32(&mut self, base: Value, offset: i32) -> Value {
        self.b.ins().uload32(memory(), base, offset)
    }

    pub fn store(&mut self, value: Value, base: Value, offset: i32) {
        self.b.ins().store(memory(), value, base, offset);
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }

    pub fn add_imm(&mut self, a: Value, imm: i64) -> Value {
        self.b.ins().iadd_imm_s(a, Imm64::new(imm))
    }

    pub fn mul_imm(&mut self, a: Value, imm: i64) -> Value {
        self.b.ins().imul_imm_s(a, Imm64::new(imm))
    }

    pub fn and_imm(&mut self, a: Value, imm: i64) -> Value {
        let imm = self.long(imm);
        self.b.ins().band(a, imm)
    }

    /// 1 or 0, in 8 bits.
    pub fn cmp(&mut self, cc: IntCC, a: Value, b: Value) -> Value {
        self.b.ins().icmp(cc, a, b)
    }

    pub fn cmp_imm(&mut self, cc: IntCC, a: Value, imm: i64) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let imm = self.int(ty, imm);
        self.b.ins().icmp(cc, a, imm)
    }

    /// Memory of this call, aligned to 16 bytes: its address.
    pub fn stack(&mut self, bytes: u32) -> Value {
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4));
        self.b.ins().stack_addr(I64, slot, 0)
    }

    fn name(&mut self, symbol: &str) -> ExternalName {
        let index = self.symbols.iter().position(|s| s == symbol).unwrap_or_else(|| {
            self.symbols.push(symbol.into());
            self.symbols.len() - 1
        });
        let name = UserExternalName { namespace: 0, index: index as u32 };
        ExternalName::user(self.b.func.declare_imported_user_function(name))
    }

    /// The address of data.
    pub fn address(&mut self, symbol: &str) -> Value {
        let name = self.name(symbol);
        let data = GlobalValueData::Symbol { name, offset: 0.into(), colocated: true, tls: false };
        let global = self.b.create_global_value(data);
        self.b.ins().symbol_value(I64, global)
    }

    fn import(&mut self, symbol: &str, params: &[Type], results: &[Type]) -> FuncRef {
        let (name, signature) = (self.name(symbol), self.sig(params, results));
        self.b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
    }

    /// The address of a function.
    pub fn function_address(&mut self, symbol: &str) -> Value {
        let function = self.import(symbol, &[], &[]);
        self.b.ins().func_addr(I64, function)
    }

    /// All arguments are 64 bits wide. Returns the result if `result` names its type.
    pub fn call(&mut self, symbol: &str, args: &[Value], result: Option<Type>) -> Option<Value> {
        let function = self.import(symbol, &vec![I64; args.len()], result.as_slice());
        let inst = self.b.ins().call(function, args);
        self.b.inst_results(inst).first().copied()
    }

    pub fn sig(&mut self, params: &[Type], results: &[Type]) -> SigRef {
        self.b.import_signature(signature(params, results))
    }

    /// All arguments are 64 bits wide.
    pub fn call_address(&mut self, address: Value, args: &[Value], result: Option<Type>) -> Option<Value> {
        let signature = self.sig(&vec![I64; args.len()], result.as_slice());
        let inst = self.b.ins().call_indirect(signature, address, args);
        self.b.inst_results(inst).first().copied()
    }

    pub fn var(&mut self, ty: Type, start: Value) -> Variable {
        let var = self.b.declare_var(ty);
        self.b.def_var(var, start);
        var
    }

    pub fn get(&mut self, var: Variable) -> Value {
        self.b.use_var(var)
    }

    pub fn set(&mut self, var: Variable, value: Value) {
        self.b.def_var(var, value);
    }

    pub fn block(&mut self) -> Block {
        self.b.create_block()
    }

    /// A block off the main path.
    pub fn cold(&mut self) -> Block {
        let block = self.b.create_block();
        self.b.set_cold_block(block);
        block
    }

    pub fn jump(&mut self, to: Block) {
        self.b.ins().jump(to, &[]);
    }

    pub fn branch(&mut self, cond: Value, then: Block, other: Block) {
        self.b.ins().brif(cond, then, &[], other, &[]);
    }

    pub fn at(&mut self, block: Block) {
        self.b.switch_to_block(block);
    }

    /// Goes to `to` if `cond`, else continues.
    pub fn leave_if(&mut self, cond: Value, to: Block) {
        let next = self.block();
        self.branch(cond, to, next);
        self.at(next);
    }

    pub fn when(&mut self, cond: Value, then: impl FnOnce(&mut Self)) {
        let (inside, next) = (self.block(), self.block());
        self.branch(cond, inside, next);
        self.at(inside);
        then(self);
        self.jump(next);
        self.at(next);
    }

    /// As `when`, off the main path; `then` returns.
    pub fn when_cold(&mut self, cond: Value, then: impl FnOnce(&mut Self)) {
        let (inside, next) = (self.cold(), self.block());
        self.branch(cond, inside, next);
        self.at(inside);
        then(self);
        self.at(next);
    }

    /// Runs `inside` with 0, 1 … while signed less than `count`.
    pub fn count(&mut self, count: Value, inside: impl FnOnce(&mut Self, Value)) {
        let zero = self.long(0);
        let i = self.var(I64, zero);
        let (head, body, next) = (self.block(), self.block(), self.block());
        self.jump(head);
        self.at(head);
        let now = self.get(i);
        let more = self.cmp(IntCC::SignedLessThan, now, count);
        self.branch(more, body, next);
        self.at(body);
        inside(self, now);
        let then = self.add_imm(now, 1);
        self.set(i, then);
        self.jump(head);
        self.at(next);
    }

    pub fn give(&mut self, value: Value) {
        self.b.ins().return_(&[value]);
    }

    /// Returns the 32-bit constant.
    pub fn give_status(&mut self, status: i64) {
        let status = self.int(I32, status);
        self.give(status);
    }
}
