//! Scalar kernels: numbers, blocks and types.

use super::Faults;
use crate::kernel::scalar::{Cell, Expr, ScalarKernel, Stmt, Ty, Value, ty_of, type_of};
use crate::kernel::{Access, Kernel};

/// What every value is set to, by number; `None` for variables of loops, and for what is never set.
pub(super) type Definitions<'a> = Vec<Option<&'a Expr>>;

pub(super) fn check<'a>(kernel: &Kernel, scalar: &'a ScalarKernel, faults: &mut Faults) -> Definitions<'a> {
    let count = scalar.values.len();
    let mut check = Check { kernel, scalar, visible: vec![false; count], set: vec![false; count], definitions: vec![None; count] };
    check.block("body", &scalar.body, faults);
    check.definitions
}

struct Check<'k, 'a> {
    kernel: &'k Kernel,
    scalar: &'a ScalarKernel,
    /// Whether the value may be read here.
    visible: Vec<bool>,
    /// Whether the value is set somewhere before.
    set: Vec<bool>,
    definitions: Definitions<'a>,
}

impl<'a> Check<'_, 'a> {
    /// A block, whose values are gone at its end.
    fn block(&mut self, name: &str, body: &'a [Stmt], faults: &mut Faults) {
        let outside = self.visible.clone();
        self.stmts(name, body, faults);
        self.visible = outside;
    }

    fn stmts(&mut self, name: &str, body: &'a [Stmt], faults: &mut Faults) {
        for (i, stmt) in body.iter().enumerate() {
            faults.place.push(format!("{name}[{i}]"));
            self.stmt(stmt, faults);
            faults.place.pop();
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt, faults: &mut Faults) {
        match *stmt {
            Stmt::Let { to, ref expr } => {
                self.expr(expr, faults);
                self.define(to, faults);
                if let Some(definition) = self.definitions.get_mut(to.0 as usize) {
                    *definition = Some(expr);
                    let (given, wanted) = (type_of(expr, &self.scalar.values, &self.scalar.cells), self.scalar.values[to.0 as usize]);
                    match given {
                        None => faults.add("operands of the wrong types".into()),
                        Some(given) if given != wanted => faults.add(format!("v{} is {wanted:?} and set to {given:?}", to.0)),
                        Some(_) => {}
                    }
                }
            }
            Stmt::Store { arg, dtype, at, value } => {
                self.reads(at, Some(Ty::Int), faults);
                self.reads(value, Some(ty_of(dtype)), faults);
                self.access(arg, Access::Read, faults);
            }
            Stmt::Set { cell, value } => match self.cell(cell, faults) {
                Some(ty) => self.reads(value, Some(ty), faults),
                None => self.reads(value, None, faults),
            },
            Stmt::For { var, from, to, ref body } => {
                self.reads(from, Some(Ty::Int), faults);
                self.reads(to, Some(Ty::Int), faults);
                let outside = self.visible.clone();
                self.define(var, faults);
                if self.scalar.values.get(var.0 as usize).is_some_and(|&ty| ty != Ty::Int) {
                    faults.add(format!("v{} counts, but is no Int", var.0));
                }
                self.stmts("for", body, faults);
                self.visible = outside;
            }
            Stmt::If { cond, ref then, ref other } => {
                self.reads(cond, Some(Ty::Int), faults);
                self.block("then", then, faults);
                self.block("else", other, faults);
            }
            Stmt::While { ref head, cond, ref body } => {
                let outside = self.visible.clone();
                self.stmts("head", head, faults);
                self.reads(cond, Some(Ty::Int), faults);
                self.stmts("while", body, faults);
                self.visible = outside;
            }
            Stmt::Fail { status } => self.status(status, faults),
        }
    }

    fn expr(&mut self, expr: &Expr, faults: &mut Faults) {
        for value in expr.operands() {
            self.reads(value, None, faults);
        }
        match *expr {
            Expr::Load { arg, .. } => self.access(arg, Access::Write, faults),
            Expr::Get(cell) => {
                self.cell(cell, faults);
            }
            Expr::Require { below, status, .. } => {
                self.status(status, faults);
                if below < 0 {
                    faults.add(format!("a value is required below {below}"));
                }
            }
            Expr::Int(_) | Expr::F32(_) | Expr::F64(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::MulAdd(..) | Expr::Select(..) => {}
        }
    }

    fn define(&mut self, value: Value, faults: &mut Faults) {
        let Some(set) = self.set.get_mut(value.0 as usize) else {
            return faults.add(format!("v{} of {} values", value.0, self.scalar.values.len()));
        };
        if *set {
            faults.add(format!("v{} is set twice", value.0));
        }
        *set = true;
        self.visible[value.0 as usize] = true;
    }

    fn reads(&self, value: Value, wanted: Option<Ty>, faults: &mut Faults) {
        match self.visible.get(value.0 as usize) {
            None => faults.add(format!("v{} of {} values", value.0, self.scalar.values.len())),
            Some(false) => faults.add(format!("v{} is not set here", value.0)),
            Some(true) => {
                let ty = self.scalar.values[value.0 as usize];
                if let Some(wanted) = wanted.filter(|&w| w != ty) {
                    faults.add(format!("v{} is {ty:?}, not {wanted:?}", value.0));
                }
            }
        }
    }

    fn cell(&self, cell: Cell, faults: &mut Faults) -> Option<Ty> {
        let ty = self.scalar.cells.get(cell.0 as usize).copied();
        if ty.is_none() {
            faults.add(format!("c{} of {} cells", cell.0, self.scalar.cells.len()));
        }
        ty
    }

    fn access(&self, arg: u8, refused: Access, faults: &mut Faults) {
        match self.kernel.args.get(arg as usize) {
            None => faults.add(format!("argument {arg} of {}", self.kernel.args.len())),
            Some(arg) if arg.access == refused => {
                faults.add(format!("`{}` is only to be {}", arg.name, if refused == Access::Read { "read" } else { "written" }));
            }
            Some(_) => {}
        }
    }

    fn status(&self, status: u8, faults: &mut Faults) {
        if !(1..=5).contains(&status) {
            faults.add(format!("status {status}, which is not in 1..=5"));
        }
    }
}
