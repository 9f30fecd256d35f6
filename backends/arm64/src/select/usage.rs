//! The registers that a kernel names. It emits nothing.

use ir::kernel::tile::{Operand, P, Stmt, TileKernel, V};

pub(super) struct Usage {
    /// Pointers, arguments included.
    pub pointers: usize,
    /// Loops around the innermost statement.
    pub depth: usize,
    highest: Option<u8>,
}

impl Usage {
    pub fn of(kernel: &TileKernel, args: usize) -> Usage {
        let mut usage = Usage { pointers: args, depth: 0, highest: None };
        usage.block(&kernel.body, 0);
        usage
    }

    /// Vectors up to the highest that is named.
    pub fn vectors(&self) -> usize {
        self.highest.map_or(0, |v| v as usize + 1)
    }

    fn block(&mut self, body: &[Stmt], depth: usize) {
        self.depth = self.depth.max(depth);
        body.iter().for_each(|stmt| self.stmt(stmt, depth));
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        match stmt {
            // What runs once needs no counter.
            Stmt::Loop { times: 1, body } => self.block(body, depth),
            Stmt::Loop { times: _, body } => self.block(body, depth + 1),
            Stmt::Point { to, from, offset: _ } => {
                self.pointer(*to);
                self.pointer(*from);
            }
            Stmt::Advance { p, by: _ } => self.pointer(*p),
            Stmt::Prefetch { at } => self.pointer(at.p),
            Stmt::Set { to, bits: _ } => self.all(&[*to]),
            Stmt::Copy { to, from } => self.all(&[*to, *from]),
            Stmt::Load { to: v, at, lanes: _ }
            | Stmt::Store { from: v, at, lanes: _ }
            | Stmt::Splat { to: v, at }
            | Stmt::LoadNarrow { to: v, at, lanes: _, kind: _ }
            | Stmt::SplatNarrow { to: v, at, kind: _ }
            | Stmt::StoreNarrow { from: v, at, lanes: _, kind: _ }
            | Stmt::Gather { to: v, at, stride: _, lanes: _ }
            | Stmt::Scatter { from: v, at, stride: _, lanes: _ }
            | Stmt::LoadQuads { to: v, at, stride: _ }
            | Stmt::StoreQuads { from: v, at, stride: _ } => {
                self.all(&[*v]);
                self.pointer(at.p);
            }
            Stmt::MulAdd { acc, a, b, negate: _ } => {
                self.all(&[*acc, *a]);
                self.source(*b);
            }
            Stmt::Dot4 { kind: _, acc, a, b } => {
                self.all(&[*acc, *a]);
                self.source(*b);
            }
            Stmt::Matrix2x8 { kind: _, acc, a, b } | Stmt::MulAdd8 { high: _, acc, a, b } => self.all(&[*acc, *a, *b]),
            Stmt::PairAdd { acc, a } => self.all(&[*acc, *a]),
            Stmt::Horner { acc, x, c } => {
                self.all(&[*acc, *x]);
                self.source(*c);
            }
            Stmt::Unary { op: _, to, a } => self.all(&[*to, *a]),
            Stmt::Binary { op: _, to, a, b } => {
                self.all(&[*to, *a]);
                self.source(*b);
            }
            Stmt::Select { to, cmp: _, x, y, a, b } => {
                self.all(&[*to, *x, *a, *b]);
                self.source(*y);
            }
            Stmt::Lookup { to, a, table, temps } => {
                self.all(&[*to, *a, temps[0], temps[1]]);
                self.pointer(table.p);
            }
            Stmt::Fold { op: _, to, from, temp } => self.all(&[*to, *from, *temp]),
        }
    }

    fn source(&mut self, source: Operand) {
        match source {
            Operand::V(v) | Operand::Lane(v, _) => self.all(&[v]),
            Operand::Memory(at) | Operand::Splat(at) => self.pointer(at.p),
            Operand::Bits(_) => {}
        }
    }

    fn pointer(&mut self, p: P) {
        self.pointers = self.pointers.max(p.0 as usize + 1);
    }

    fn all(&mut self, vectors: &[V]) {
        self.highest = self.highest.max(vectors.iter().map(|v| v.0).max());
    }
}
