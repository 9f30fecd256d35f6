//! Scalar kernels to instructions: values are locals, given back where their block ends; cells are locals of their own. The laws
//! of `ir::kernel::scalar` hold to the bit. Comparisons are 32 bits wide here, and stay so for as long as nobody counts with
//! them.

mod operations;

use ir::kernel::scalar::{Cell, Expr, ScalarKernel, Stmt, Ty, Value};
use ir::tensor::Dtype;
use wasm_encoder::{BlockType, ValType};

use crate::encode::{Body, Local, memarg};
use crate::half::{Helper, Helpers};

/// A compiled scalar kernel: a function of its pointers.
#[derive(Debug)]
pub struct Scalar {
    /// As it stands in the code section.
    pub code: Vec<u8>,
    /// Whether it returns a status; one that cannot fail returns nothing.
    pub fails: bool,
}

/// `kernel` with `args` pointers. `fused`: a multiply-add is relaxed SIMD's. Fault: none for a verified kernel.
pub fn compile(kernel: &ScalarKernel, args: usize, fused: bool, helpers: &Helpers) -> Scalar {
    let mut body = Body::new(args);
    let cells = kernel.cells.iter().map(|ty| body.local(val_type(*ty))).collect();
    let mut uses = vec![0; kernel.values.len()];
    count_uses(&kernel.body, &mut uses);
    let places = vec![None; kernel.values.len()];
    let mut lower = Lower { body, kernel, fused, helpers, cells, uses, places, blocks: Vec::new() };
    lower.block(&kernel.body);
    let fails = can_fail(&kernel.body);
    if fails {
        lower.body.int(0);
    }
    Scalar { code: lower.body.finish(), fails }
}

/// Whether a kernel returns a status at all.
fn can_fail(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Let { to: _, expr } => matches!(expr, Expr::Require { .. }),
        Stmt::Store { .. } | Stmt::Set { .. } => false,
        Stmt::For { var: _, from: _, to: _, body } => can_fail(body),
        Stmt::If { cond: _, then, other } => can_fail(then) || can_fail(other),
        Stmt::While { head, cond: _, body } => can_fail(head) || can_fail(body),
        Stmt::Fail { status: _ } => true,
    })
}

/// How often each value is pushed, at least.
fn count_uses(body: &[Stmt], uses: &mut [u32]) {
    let mut use_of = |v: Value, times: u32| uses[v.0 as usize] += times;
    for stmt in body {
        match stmt {
            // what a checked value is called afterwards is the value itself
            Stmt::Let { to: _, expr: Expr::Require { value, below: _, status: _ } } => use_of(*value, 2),
            Stmt::Let { to: _, expr } => expr.operands().into_iter().for_each(|v| use_of(v, 1)),
            Stmt::Store { arg: _, dtype: _, at, value } => {
                use_of(*at, 1);
                use_of(*value, 1);
            }
            Stmt::Set { cell: _, value } => use_of(*value, 1),
            Stmt::For { var: _, from, to, body: _ } => {
                use_of(*from, 1);
                use_of(*to, 2);
            }
            Stmt::If { cond, then: _, other: _ } => use_of(*cond, 1),
            Stmt::While { head: _, cond, body: _ } => use_of(*cond, 1),
            Stmt::Fail { status: _ } => {}
        }
    }
    for stmt in body {
        match stmt {
            Stmt::For { var: _, from: _, to: _, body } => count_uses(body, uses),
            Stmt::If { cond: _, then, other } => {
                count_uses(then, uses);
                count_uses(other, uses);
            }
            Stmt::While { head, cond: _, body } => {
                count_uses(head, uses);
                count_uses(body, uses);
            }
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::Set { .. } | Stmt::Fail { .. } => {}
        }
    }
}

fn val_type(ty: Ty) -> ValType {
    match ty {
        Ty::Int => ValType::I64,
        Ty::F32 => ValType::F32,
        Ty::F64 => ValType::F64,
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Local(Local),
    /// A local of 32 bits that holds 0 or 1.
    Flag(Local),
    Int(i64),
    F32(u32),
    F64(u64),
}

struct Lower<'k> {
    body: Body,
    kernel: &'k ScalarKernel,
    fused: bool,
    helpers: &'k Helpers,
    cells: Vec<Local>,
    uses: Vec<u32>,
    places: Vec<Option<Place>>,
    /// The locals of each open block.
    blocks: Vec<Vec<Local>>,
}

// ------------------------------------------------------------------------------------------------ values, and their blocks
impl Lower<'_> {
    fn place(&self, v: Value) -> Place {
        self.places[v.0 as usize].expect("the verifier saw that it is set before")
    }

    fn ty(&self, v: Value) -> Ty {
        self.kernel.values[v.0 as usize]
    }

    fn call(&mut self, helper: Helper) {
        let index = self.helpers[&helper];
        self.body.ins().call(index);
    }

    /// A local to the end of the innermost block.
    fn local(&mut self, ty: ValType) -> Local {
        let local = self.body.local(ty);
        self.blocks.last_mut().expect("statements stand in a block").push(local);
        local
    }

    /// Pushes a value that will be pushed again.
    fn copy(&mut self, v: Value) {
        match self.place(v) {
            Place::Local(local) => self.body.get(local),
            Place::Flag(local) => {
                self.body.get(local);
                self.body.ins().i64_extend_i32_u();
            }
            Place::Int(value) => self.body.long(value),
            Place::F32(bits) => self.body.single(bits),
            Place::F64(bits) => self.body.double(bits),
        }
    }

    fn push(&mut self, v: Value) {
        match self.place(v) {
            Place::Local(local) if self.uses[v.0 as usize] == 1 => self.body.take(local),
            Place::Flag(local) if self.uses[v.0 as usize] == 1 => {
                self.body.take(local);
                self.body.ins().i64_extend_i32_u();
            }
            Place::Local(_) | Place::Flag(_) | Place::Int(_) | Place::F32(_) | Place::F64(_) => self.copy(v),
        }
    }

    /// Pushes whether an Int is not 0, in 32 bits.
    fn push_flag(&mut self, v: Value) {
        match self.place(v) {
            Place::Flag(local) if self.uses[v.0 as usize] == 1 => self.body.take(local),
            Place::Flag(local) => self.body.get(local),
            Place::Int(value) => self.body.int((value != 0).into()),
            Place::Local(_) | Place::F32(_) | Place::F64(_) => {
                self.push(v);
                self.body.ins().i64_const(0).i64_ne();
            }
        }
    }

    fn is_flag(&self, v: Value) -> bool {
        matches!(self.place(v), Place::Flag(_))
    }

    fn block(&mut self, body: &[Stmt]) {
        self.blocks.push(Vec::new());
        body.iter().for_each(|stmt| self.stmt(stmt));
        for local in self.blocks.pop().expect("it was just opened") {
            self.body.give_back(local);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- statements
impl Lower<'_> {
    fn stmt(&mut self, stmt: &Stmt) {
        match *stmt {
            Stmt::Let { to, ref expr } => {
                let place = self.place_of(to, expr);
                self.places[to.0 as usize] = Some(place);
            }
            Stmt::Store { arg, dtype, at, value } => self.store(arg, dtype, at, value),
            Stmt::Set { cell, value } => {
                self.push(value);
                let cell = self.cell(cell);
                self.body.set(cell);
            }
            Stmt::For { var, from, to, ref body } => self.count(var, from, to, body),
            Stmt::If { cond, ref then, ref other } => {
                self.push_flag(cond);
                if then.is_empty() {
                    self.body.ins().i32_eqz();
                }
                self.body.ins().if_(BlockType::Empty);
                self.block(if then.is_empty() { other } else { then });
                if !then.is_empty() && !other.is_empty() {
                    self.body.ins().else_();
                    self.block(other);
                }
                self.body.ins().end();
            }
            Stmt::While { ref head, cond, ref body } => {
                self.body.ins().block(BlockType::Empty).loop_(BlockType::Empty);
                // the condition and the body see the values of the head
                self.blocks.push(Vec::new());
                head.iter().for_each(|stmt| self.stmt(stmt));
                self.push_flag(cond);
                self.body.ins().i32_eqz().br_if(1);
                self.block(body);
                for local in self.blocks.pop().expect("it was just opened") {
                    self.body.give_back(local);
                }
                self.body.ins().br(0).end().end();
            }
            Stmt::Fail { status } => self.fail(status),
        }
    }

    fn fail(&mut self, status: u8) {
        self.body.ins().i32_const(status.into()).return_();
    }

    fn cell(&self, cell: Cell) -> Local {
        self.cells[cell.0 as usize]
    }

    fn count(&mut self, var: Value, from: Value, to: Value, body: &[Stmt]) {
        let i = self.local(ValType::I64);
        self.places[var.0 as usize] = Some(Place::Local(i));
        // it is pushed once more than anyone sees
        self.uses[var.0 as usize] += 1;
        self.push(from);
        self.body.set(i);
        let certain = matches!((self.place(from), self.place(to)), (Place::Int(from), Place::Int(to)) if from < to);
        if !certain {
            self.body.get(i);
            self.copy(to);
            self.body.ins().i64_lt_s().if_(BlockType::Empty);
        }
        self.body.ins().loop_(BlockType::Empty);
        self.block(body);
        self.body.get(i);
        self.body.ins().i64_const(1).i64_add();
        self.body.tee(i);
        self.copy(to);
        self.body.ins().i64_lt_s().br_if(0).end();
        if !certain {
            self.body.ins().end();
        }
    }

    /// Pushes an address; returns the displacement from there.
    fn address(&mut self, arg: u8, dtype: Dtype, at: Value) -> u32 {
        let bytes = dtype.bytes() as i64;
        let pointer = self.body.param(arg.into());
        let constant = match self.place(at) {
            Place::Int(at) => at.checked_mul(bytes).and_then(|offset| u32::try_from(offset).ok()),
            Place::Local(_) | Place::Flag(_) | Place::F32(_) | Place::F64(_) => None,
        };
        if let Some(offset) = constant {
            self.body.get(pointer);
            return offset;
        }
        self.push(at);
        self.body.ins().i32_wrap_i64();
        if bytes > 1 {
            self.body.ins().i32_const(bytes.trailing_zeros() as i32).i32_shl();
        }
        self.body.get(pointer);
        self.body.ins().i32_add();
        0
    }

    fn store(&mut self, arg: u8, dtype: Dtype, at: Value, value: Value) {
        let offset = self.address(arg, dtype, at);
        if dtype == Dtype::Bool {
            self.push_flag(value);
            self.body.ins().i32_store8(memarg(offset, 0));
            return;
        }
        self.push(value);
        match dtype {
            Dtype::F16 => self.call(Helper::F32ToF16),
            Dtype::BF16 => self.call(Helper::F32ToBf16),
            // what lies above the bits that count is their sign, or 0
            Dtype::I4 | Dtype::U4 | Dtype::I2 | Dtype::U2 => self.cut(dtype),
            Dtype::F32 | Dtype::F64 | Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => {}
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 | Dtype::Bool => {}
            Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => {}
        }
        let at = |align| memarg(offset, align);
        let mut ins = self.body.ins();
        match dtype {
            Dtype::F32 => ins.f32_store(at(2)),
            Dtype::F64 => ins.f64_store(at(3)),
            Dtype::F16 | Dtype::BF16 => ins.i32_store16(at(1)),
            Dtype::I64 | Dtype::U64 => ins.i64_store(at(3)),
            Dtype::I32 | Dtype::U32 => ins.i64_store32(at(2)),
            Dtype::I16 | Dtype::U16 => ins.i64_store16(at(1)),
            Dtype::I8 | Dtype::U8 | Dtype::I4 | Dtype::U4 | Dtype::I2 | Dtype::U2 | Dtype::Bool => ins.i64_store8(at(0)),
            Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => ins.i64_store8(at(0)),
        };
    }

    fn load(&mut self, arg: u8, dtype: Dtype, at: Value) {
        let offset = self.address(arg, dtype, at);
        let at = |align| memarg(offset, align);
        let mut ins = self.body.ins();
        match dtype {
            Dtype::F32 => ins.f32_load(at(2)),
            Dtype::F64 => ins.f64_load(at(3)),
            Dtype::F16 => ins.i32_load16_u(at(1)),
            Dtype::BF16 => ins.i32_load16_u(at(1)).i32_const(16).i32_shl().f32_reinterpret_i32(),
            Dtype::I64 | Dtype::U64 => ins.i64_load(at(3)),
            Dtype::I32 => ins.i64_load32_s(at(2)),
            Dtype::U32 => ins.i64_load32_u(at(2)),
            Dtype::I16 => ins.i64_load16_s(at(1)),
            Dtype::U16 => ins.i64_load16_u(at(1)),
            Dtype::I8 | Dtype::I4 | Dtype::I2 => ins.i64_load8_s(at(0)),
            Dtype::U8 | Dtype::U4 | Dtype::U2 => ins.i64_load8_u(at(0)),
            Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => ins.i64_load8_u(at(0)),
            Dtype::Bool => ins.i32_load8_u(at(0)).i32_const(0).i32_ne(),
        };
        match dtype {
            Dtype::F16 => self.call(Helper::F16ToF32),
            Dtype::I4 | Dtype::U4 | Dtype::I2 | Dtype::U2 => self.cut(dtype),
            Dtype::F32 | Dtype::F64 | Dtype::BF16 | Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => {}
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 | Dtype::Bool => {}
            Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => {}
        }
    }

    /// Cuts the 64 bits on the stack to an integer type and extends them again.
    fn cut(&mut self, dtype: Dtype) {
        let bits = dtype.bits() as i64;
        let mut ins = self.body.ins();
        match (dtype.is_signed_int(), bits) {
            (_, 64) => &mut ins,
            (true, 8) => ins.i64_extend8_s(),
            (true, 16) => ins.i64_extend16_s(),
            (true, 32) => ins.i64_extend32_s(),
            (true, bits) => ins.i64_const(64 - bits).i64_shl().i64_const(64 - bits).i64_shr_s(),
            (false, bits) => ins.i64_const((1 << bits) - 1).i64_and(),
        };
    }
}

// ------------------------------------------------------------------------------------------------------------ expressions
impl Lower<'_> {
    /// Computes `expr` and says where it is.
    fn place_of(&mut self, to: Value, expr: &Expr) -> Place {
        // constants are written where they are used, if that is no longer than a local
        let rare = self.uses[to.0 as usize] <= 2;
        match *expr {
            Expr::Int(value) if rare || (-(1 << 13)..1 << 13).contains(&value) => return Place::Int(value),
            Expr::F32(bits) if rare => return Place::F32(bits),
            Expr::F64(bits) if rare => return Place::F64(bits),
            Expr::Require { value, below, status } => {
                self.copy(value);
                // as unsigned numbers the negative ones are too large, too
                self.body.ins().i64_const(below.max(0)).i64_ge_u().if_(BlockType::Empty);
                self.fail(status);
                self.body.ins().end();
                // whoever uses the new name uses the old one
                self.uses[to.0 as usize] = self.uses[to.0 as usize].max(2);
                return self.place(value);
            }
            Expr::Int(_) | Expr::F32(_) | Expr::F64(_) | Expr::Load { .. } | Expr::Get(_) => {}
            Expr::Unary(..) | Expr::Binary(..) | Expr::MulAdd(..) | Expr::Select(..) => {}
        }
        let flag = self.expr(expr);
        let ty = if flag { ValType::I32 } else { val_type(self.ty(to)) };
        let local = self.local(ty);
        self.body.set(local);
        if flag { Place::Flag(local) } else { Place::Local(local) }
    }

    /// Pushes the value; says whether it is a flag.
    fn expr(&mut self, expr: &Expr) -> bool {
        match *expr {
            Expr::Int(value) => self.body.long(value),
            Expr::F32(bits) => self.body.single(bits),
            Expr::F64(bits) => self.body.double(bits),
            Expr::Load { arg, dtype, at } => {
                self.load(arg, dtype, at);
                return dtype == Dtype::Bool;
            }
            Expr::Get(cell) => {
                let cell = self.cell(cell);
                self.body.get(cell);
            }
            Expr::Unary(op, a) => return self.unary(op, a),
            Expr::Binary(op, a, b) => return self.binary(op, a, b),
            Expr::MulAdd(a, b, c) => self.mul_add(a, b, c),
            Expr::Select(a, b, c) => {
                self.push(b);
                self.push(c);
                self.push_flag(a);
                self.body.ins().select();
            }
            Expr::Require { .. } => unreachable!("a checked value stays where it is"),
        }
        false
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) {
        let double = self.ty(a) == Ty::F64;
        for v in [a, b] {
            self.push(v);
            self.widen(double);
        }
        if !self.fused {
            match double {
                true => self.body.ins().f64_mul(),
                false => self.body.ins().f32_mul(),
            };
        }
        self.push(c);
        self.widen(double);
        let mut ins = self.body.ins();
        match (self.fused, double) {
            (true, true) => ins.f64x2_relaxed_madd().f64x2_extract_lane(0),
            (true, false) => ins.f32x4_relaxed_madd().f32x4_extract_lane(0),
            (false, true) => ins.f64_add(),
            (false, false) => ins.f32_add(),
        };
    }

    /// Only vectors are multiplied and added in one.
    fn widen(&mut self, double: bool) {
        if self.fused {
            match double {
                true => self.body.ins().f64x2_splat(),
                false => self.body.ins().f32x4_splat(),
            };
        }
    }
}
