//! `cargo run --release -p maquette-bench --bin peak`: GFLOP/s of independent f32 multiply-adds on one core, a line
//! per level that this machine runs: what every other figure is a share of.

use bench::machine::{levels, peak};

fn main() -> Result<(), String> {
    for facts in levels() {
        println!("{} {:.1}", facts.name, peak(facts)?);
    }
    Ok(())
}
