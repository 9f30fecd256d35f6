//! One function under construction: its locals, and its instructions as bytes. Thin over `wasm-encoder`, which knows the opcodes.
//! It refuses to know what a function computes.

use std::collections::BTreeMap;

use wasm_encoder::{BlockType, Encode, Function, Ieee32, Ieee64, Instruction, InstructionSink, MemArg, MemArgTarget, ValType};

/// A local variable, parameters first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local(pub u32);

/// A function: parameters are `i32`, pointers all of them.
#[derive(Debug)]
pub struct Body {
    params: u32,
    locals: Vec<ValType>,
    /// Locals that may be used again, by type.
    free: BTreeMap<u8, Vec<Local>>,
    code: Vec<u8>,
    /// The last instruction, if it was a `local.set`: where it starts and ends.
    set: Option<(Local, usize, usize)>,
}

impl Body {
    pub fn new(params: usize) -> Body {
        Body { params: params as u32, locals: Vec::new(), free: BTreeMap::new(), code: Vec::new(), set: None }
    }

    pub fn param(&self, index: usize) -> Local {
        assert!(index < self.params as usize, "parameter {index} of {}", self.params);
        Local(index as u32)
    }

    /// A local that nobody uses. A new one is 0, one that was given back is not.
    pub fn local(&mut self, ty: ValType) -> Local {
        if let Some(local) = self.free.get_mut(&key(ty)).and_then(Vec::pop) {
            return local;
        }
        self.locals.push(ty);
        Local(self.params + self.locals.len() as u32 - 1)
    }

    pub fn give_back(&mut self, local: Local) {
        let ty = self.locals[(local.0 - self.params) as usize];
        self.free.entry(key(ty)).or_default().push(local);
    }

    /// The next instructions.
    pub fn ins(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    /// The next instruction, as a value.
    pub fn put(&mut self, instruction: &Instruction) {
        instruction.encode(&mut self.code);
    }

    pub fn get(&mut self, local: Local) {
        if self.undo_set(local) {
            // set and get are one instruction
            self.tee(local);
        } else {
            self.ins().local_get(local.0);
        }
    }

    /// Like [`Body::get`] for the last time: if it was set just now, its value stays on the stack.
    pub fn take(&mut self, local: Local) {
        if !self.undo_set(local) {
            self.ins().local_get(local.0);
        }
    }

    /// Whether the last instruction set `local`, and is now gone.
    fn undo_set(&mut self, local: Local) -> bool {
        match self.set.take() {
            Some((last, start, end)) if last == local && end == self.code.len() => {
                self.code.truncate(start);
                true
            }
            Some(_) | None => false,
        }
    }

    pub fn set(&mut self, local: Local) {
        let start = self.code.len();
        self.ins().local_set(local.0);
        self.set = Some((local, start, self.code.len()));
    }

    pub fn tee(&mut self, local: Local) {
        self.ins().local_tee(local.0);
    }

    pub fn int(&mut self, value: i32) {
        self.ins().i32_const(value);
    }

    pub fn long(&mut self, value: i64) {
        self.ins().i64_const(value);
    }

    /// By its bits.
    pub fn single(&mut self, bits: u32) {
        self.ins().f32_const(Ieee32::new(bits));
    }

    /// By its bits.
    pub fn double(&mut self, bits: u64) {
        self.ins().f64_const(Ieee64::new(bits));
    }

    /// The shortest way to these bits in all lanes.
    pub fn lanes(&mut self, bits: u32) {
        self.ins().i32_const(bits as i32).i32x4_splat();
    }

    /// `pointer += by`, as addresses wrap.
    pub fn advance(&mut self, pointer: Local, by: i64) {
        if by as i32 != 0 {
            self.get(pointer);
            self.ins().i32_const(by as i32).i32_add();
            self.set(pointer);
        }
    }

    /// Starts `times` turns of what follows, until [`Body::close_loop`].
    pub fn open_loop(&mut self, times: u32) -> Local {
        let counter = self.local(ValType::I32);
        self.int(times as i32);
        self.set(counter);
        self.ins().loop_(BlockType::Empty);
        counter
    }

    pub fn close_loop(&mut self, counter: Local) {
        self.get(counter);
        self.ins().i32_const(-1).i32_add();
        self.tee(counter);
        self.ins().br_if(0).end();
        self.give_back(counter);
    }

    /// The function as it stands in a module's code section.
    pub fn finish(mut self) -> Vec<u8> {
        self.ins().end();
        let mut function = Function::new_with_locals_types(self.locals);
        function.raw(self.code);
        function.into_raw_body()
    }
}

/// An access of `offset` bytes beyond an address. No alignment is promised beyond the element's.
pub fn memarg(offset: u32, align: u32) -> MemArg {
    MemArg { offset: offset.into(), align, target: MemArgTarget::Memory(0), ordering: None }
}

fn key(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        ValType::V128 => 4,
        ValType::Ref(_) => panic!("functions of kernels have no references"),
    }
}
