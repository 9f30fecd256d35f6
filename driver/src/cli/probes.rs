//! What the kernel families are on each CPU level: a small layer of each is planned, and its kernels are named. Nothing here is
//! said that the planner did not do.

use ir::kernel::facts::MinMax;
use ir::kernel::tile::{Operand, Stmt};
use ir::kernel::{Facts, Kernel, KernelBody};

use crate::error::Result;
use crate::table::{Table, word};
use crate::target::{Level, TARGETS};

/// Families by the layer that shows them, as graphs.
const LAYERS: &[(&str, &str)] = &[
    (
        "product",
        "graph { %x: f32[192,192] = input \"x\"\n%w: f32[192,192] = const random 1\n%y = dot %x, %w {trans_a=false, trans_b=false}\nreturn %y \"y\" }",
    ),
    (
        "convolution 3x3",
        "graph { %x: f32[1,28,28,64] = input \"x\"\n%w: f32[3,3,64,64] = const random 1\n\
         %y = conv %x, %w {stride=[1,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0}\nreturn %y \"y\" }",
    ),
    (
        "depthwise 3x3",
        "graph { %x: f32[1,28,28,64] = input \"x\"\n%w: f32[3,3,1,64] = const random 1\n\
         %y = conv %x, %w {stride=[1,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=64, fill=0.0}\nreturn %y \"y\" }",
    ),
    (
        "pooling",
        "graph { %x: f32[1,28,28,64] = input \"x\"\n\
         %y = window %x {kind=max, size=[2,2], stride=[2,2], dilation=[1,1], low=[0,0], high=[0,0]}\nreturn %y \"y\" }",
    ),
    ("map", "graph { %x: f32[4096] = input \"x\"\n%y = map %x do { tanh(a) }\nreturn %y \"y\" }"),
    ("softmax", "graph { %x: f32[16,256] = input \"x\"\n%y = softmax %x {axis=1, log=false}\nreturn %y \"y\" }"),
    ("gather", "graph { %x: f32[64,64] = input \"x\"\n%i: i64[8] = input \"i\"\n%y = gather %x, %i {axis=0}\nreturn %y \"y\" }"),
];

/// A row per level: its registers, how it multiplies and adds, and the kernel of each family.
pub fn table() -> Result<Table> {
    let mut heads = vec!["level", "vectors", "multiply-add", "min and max"];
    heads.extend(LAYERS.iter().map(|(name, _)| *name));
    let mut table = Table::new(&heads);
    let mut seen: Vec<&'static Level> = Vec::new();
    for level in TARGETS.iter().flat_map(|t| t.levels) {
        if seen.contains(&level) {
            continue;
        }
        let facts = level.facts;
        seen.push(level);
        let mut row = vec![word(level.name), word(format!("{} x {} bits", facts.vectors, 8 * facts.vector_bytes))];
        let kernels = LAYERS.iter().map(|(_, layer)| kernels(layer, facts)).collect::<Result<Vec<Vec<Kernel>>>>()?;
        row.push(word(multiply_add(&kernels[0], facts)));
        row.push(word(match facts.min_max {
            MinMax::SecondOnTie => "second operand on NaN",
            MinMax::Ieee => "NaN stays NaN",
        }));
        row.extend(kernels.iter().map(|all| word(all.last().map_or(String::new(), said))));
        table.row(row);
    }
    Ok(table)
}

/// The kernels that a layer becomes, in order.
fn kernels(layer: &str, facts: &Facts) -> Result<Vec<Kernel>> {
    let graph = ir::graph::text::parse(layer, &|_| None).expect("the layers are graphs");
    Ok(kernels::lower(&graph, facts)?.kernels)
}

/// Its name without its number, and which of the two languages it is written in.
fn said(kernel: &Kernel) -> String {
    let name = kernel.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    match kernel.body {
        KernelBody::Tile(_) => name.to_string(),
        KernelBody::Scalar(_) => format!("{name} (scalar)"),
    }
}

/// Where the second factor of the products comes from, and how often the result is rounded.
fn multiply_add(kernels: &[Kernel], facts: &Facts) -> String {
    let rounds = if facts.fused { "one rounding" } else { "two roundings" };
    let from = kernels.iter().find_map(|kernel| match &kernel.body {
        KernelBody::Tile(tile) => first_product(&tile.body),
        KernelBody::Scalar(_) => None,
    });
    match from {
        Some(Operand::Splat(_)) => format!("element in memory, {rounds}"),
        Some(Operand::Lane(..)) => format!("lane of a register, {rounds}"),
        Some(Operand::V(_) | Operand::Memory(_) | Operand::Bits(_)) | None => format!("registers, {rounds}"),
    }
}

fn first_product(body: &[Stmt]) -> Option<Operand> {
    body.iter().find_map(|stmt| match stmt {
        Stmt::MulAdd { b, .. } => Some(*b),
        Stmt::Loop { body, .. } => first_product(body),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_row_and_every_family_a_kernel() {
        let text = table().expect("the layers are right").to_string();
        for level in TARGETS.iter().flat_map(|t| t.levels) {
            assert!(text.lines().any(|line| line.split_whitespace().next() == Some(level.name)), "{}", level.name);
        }
        assert!(text.contains("14x32") && text.contains("lane of a register"), "{text}");
    }
}
