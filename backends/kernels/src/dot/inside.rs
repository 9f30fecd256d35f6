//! A product as statements of a larger kernel, which says where its pointers are.

use super::choose::Shape;
use super::emit::{Emit, plan, simplify};
use super::epilogue::Behind;
use super::panels::{Panel, pack};
use super::way::Way;
use super::{Product, Right};
use crate::build::{BufferId, Builder};
use crate::tile::Writer;
use ir::kernel::facts::Facts;
use ir::kernel::tile::Stmt;

/// A product of floats as a part of a larger kernel.
pub struct Inside {
    /// Pointers: A, B, C, extras in memory in order, then scratch for raw sums. All end where they began.
    pub body: Vec<Stmt>,
    /// Bytes of scratch, none where sums stay in registers.
    pub scratch: i64,
    /// Bytes of one matrix of packed weights.
    pub matrix_bytes: i64,
    shape: Shape,
    panels: Vec<Panel>,
}

/// The statements of a product whose operands per column are in memory. Packed weights lie as for the level `packing`, or as
/// those of `like`, a product of the same columns and depth with at least as many rows. `None` for an epilogue
/// wider than all registers, or rows farther apart than an address reaches.
pub fn inside(mut product: Product, facts: &Facts, packing: &Facts, like: Option<&Inside>) -> Option<Inside> {
    simplify(&mut product);
    let mut emit = plan(&product, Way::Float, facts, packing, None);
    if let Some(like) = like {
        emit = Emit { shape: like.shape, panels: like.panels.clone(), ..emit };
    }
    if !emit.columns.is_empty() || !emit.reaches() {
        return None;
    }
    emit.behind = emit.choose_behind()?;
    let mut batch = product.batch.clone();
    let matrix_bytes = if emit.pitch.is_none() { emit.all_bytes() } else { 0 };
    if let Right::Packed { steps, .. } = &product.right {
        batch.iter_mut().zip(steps).for_each(|(level, &step)| level.b = step as i64 * matrix_bytes);
    }
    let outside = emit.panels_outside();
    let mut w = Writer::new();
    emit.batches(&batch, 0, &mut w, &|w: &mut Writer| emit.grid(outside, w));
    let scratch = if emit.behind == Behind::Registers { 0 } else { emit.scratch_bytes() };
    let (shape, panels) = (emit.shape, emit.panels.clone());
    Some(Inside { body: w.out, scratch, matrix_bytes, shape, panels })
}

impl Inside {
    /// Lays out the packed weights of `product`, which is the one it was made of but for them.
    pub fn pack(&self, product: &Product, builder: &mut Builder) -> BufferId {
        let Right::Packed { matrices, .. } = &product.right else { unreachable!("what is packed are constants") };
        pack(builder, matrices, product, &[], &self.panels)
    }
}
