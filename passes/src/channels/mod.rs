//! Dead channels go, with all that was computed for them and of them: a channel that nobody reads (every weight that would
//! multiply it is zero), and a channel that is always zero, or in integers always one number, whose share goes into the next
//! bias. A channel of one value is tied to those of others by every residual sum, concatenation and depthwise layer on the
//! way, so that one goes only where all can.
//!
//! What is left is computed as before, to the last bit, but for the order in which machines add: products with zero never
//! change a finite sum. (Where an activation is infinite or a NaN, its product with a weight of zero is a NaN, and that one
//! goes too.) A constant that is not zero stays in floats: its share in a bias would round elsewhere. Counts of channels are
//! not kept to multiples of anything: this room knows no machine.

mod follow;
mod narrow;

use crate::run::{Fuel, Line};
use follow::{Channels, Layer, Track};
use ir::Graph;

/// The name of the pass, and of its lines in the log.
pub const NAME: &str = "channels";

/// What the pass found out.
#[derive(Default)]
pub struct Found {
    /// Nodes that were made narrower.
    pub rewrites: usize,
    /// A line for each layer that lost channels.
    pub log: Vec<Line>,
}

/// Removes what can be removed.
pub fn run(graph: &mut Graph, fuel: &mut Fuel) -> Found {
    let channels = Channels::follow(graph);
    let dead = dead(&channels);
    if !dead.iter().any(|&d| d) || !fuel.take() {
        return Found::default();
    }
    let mut log = Vec::new();
    for layer in &channels.layers {
        let of = channels.tracks[&layer.node].ids.len();
        let gone = of - kept(&channels.tracks[&layer.node], &dead).len();
        if gone > 0 {
            let at = format!("{}: {gone} of {of} channels", graph.label(layer.node));
            log.push(Line { pass: NAME, rule: "remove_channels", op: graph.op(layer.node).mnemonic(), at, why_not: None });
        }
    }
    let rewrites = narrow::narrow(graph, &channels, &dead);
    graph.remove_dead();
    Found { rewrites, log }
}

/// Which channels go, by number. All that are tied to no barrier do, but for those that a layer that stays reads.
fn dead(channels: &Channels) -> Vec<bool> {
    let mut dead: Vec<bool> = (0..channels.count()).map(|id| !channels.pinned(id)).collect();
    if !dead.iter().any(|&d| d) {
        return dead;
    }
    loop {
        let before = dead.clone();
        for layer in &channels.layers {
            needs(channels, layer, &mut dead);
        }
        // no value loses all that it has
        for track in channels.tracks.values() {
            if track.ids.iter().all(|&id| dead[id])
                && let Some(&first) = track.ids.first()
            {
                dead[first] = false;
            }
        }
        if dead == before {
            return dead;
        }
    }
}

/// Takes from `dead` what the layer reads for channels that stay.
fn needs(channels: &Channels, layer: &Layer, dead: &mut [bool]) {
    let Some(input) = layer.input.and_then(|x| channels.tracks.get(&x)) else { return };
    let outputs = &channels.tracks[&layer.node].ids;
    for (p, &id) in input.ids.iter().enumerate() {
        if dead[id] && !layer.absorbs(input, p) && outputs.iter().enumerate().any(|(j, &out)| !dead[out] && layer.nonzero(p, j)) {
            dead[id] = false;
        }
    }
}

/// The positions of a value that stay.
fn kept(track: &Track, dead: &[bool]) -> Vec<usize> {
    (0..track.ids.len()).filter(|&i| !dead[track.ids[i]]).collect()
}
