//! Which passes run, in which order: one list for each recipe. Whatever the order, a rule needs no other to
//! have run first; the order only saves work.

use crate::channels;
use crate::clean;
use crate::quantization;
use crate::rule::Rule;
use crate::rules::{attention, batch_norm, fold, fuse, identity, recompose, reshape, tidy, transpose};
use crate::run::{Pass, Work};

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipe {
    /// Nothing but what later floors need: to see the model as it was imported.
    O0,
    /// What always pays.
    O2,
    /// The same as `O2` for now: no rule here buys speed with size.
    O3,
    /// As `O2`; kernels leave out what buys speed with size.
    Os,
}

impl Recipe {
    pub const ALL: &[Recipe] = &[Recipe::O0, Recipe::O2, Recipe::O3, Recipe::Os];

    pub fn name(self) -> &'static str {
        match self {
            Recipe::O0 => "O0",
            Recipe::O2 => "O2",
            Recipe::O3 => "O3",
            Recipe::Os => "Os",
        }
    }

    pub fn from_name(name: &str) -> Option<Recipe> {
        Recipe::ALL.iter().copied().find(|r| r.name() == name)
    }

    pub fn passes(self) -> &'static [&'static Pass] {
        match self {
            Recipe::O0 => O0,
            Recipe::O2 | Recipe::O3 | Recipe::Os => O2,
        }
    }
}

const O0: &[&Pass] = &[&DEAD, &QUANTIZATION, &EXPAND, &FOLD, &REGIONS, &ORDER];
const O2: &[&Pass] = &[
    &DEAD,
    &FOLD,
    &QUANTIZATION,
    &EXPAND,
    &FOLD,
    &CONSTANTS,
    &SIMPLIFY,
    &TRANSPOSES,
    &LAYOUT,
    &RECOMPOSE,
    &FUSE,
    &ATTENTION,
    &CHANNELS,
    &CONSTANTS,
    &TIDY,
    &DEAD,
    &REGIONS,
    &ORDER,
];

/// Every pass, each once.
pub const ALL: &[&Pass] = &[
    &DEAD,
    &QUANTIZATION,
    &EXPAND,
    &FOLD,
    &CONSTANTS,
    &SIMPLIFY,
    &TRANSPOSES,
    &LAYOUT,
    &RECOMPOSE,
    &FUSE,
    &ATTENTION,
    &CHANNELS,
    &TIDY,
    &REGIONS,
    &ORDER,
];

pub static DEAD: Pass = Pass { name: "dead", about: "nodes that no output needs go", required: false, run: Work::Whole(clean::dead) };

pub static CONSTANTS: Pass =
    Pass { name: "constants", about: "equal constants are one", required: false, run: Work::Whole(clean::share_constants) };

pub static QUANTIZATION: Pass = Pass {
    name: quantization::NAME,
    about: "what is computed from quantized numbers stays in integers",
    required: false,
    run: Work::Quantization,
};

pub static CHANNELS: Pass =
    Pass { name: channels::NAME, about: "channels that nobody reads, or that are always zero, go", required: false, run: Work::Channels };

pub static EXPAND: Pass =
    Pass { name: "expand", about: "quantize and dequantize become maps", required: true, run: Work::Whole(quantization::expand::expand) };

pub static REGIONS: Pass = Pass {
    name: "regions",
    about: "constants go into the turns of scans, which all passes simplify as well",
    required: true,
    run: Work::Regions,
};

pub static ORDER: Pass = Pass { name: "order", about: "nodes are numbered in the order of the model", required: true, run: Work::Order };

pub static FOLD: Pass = Pass {
    name: "fold",
    about: "what follows from constants alone is computed",
    required: false,
    run: Work::Rules(&[&identity::DROP_NO_OP, &fold::FOLD_VIEW, &fold::FOLD_SPLAT, &fold::FOLD_CONSTANT]),
};

pub static SIMPLIFY: Pass = Pass {
    name: "simplify",
    about: "operators and bodies are put in their shortest form",
    required: false,
    run: Work::Rules(&[
        &identity::DROP_NO_OP,
        &fold::FOLD_VIEW,
        &fold::FOLD_SPLAT,
        &fold::FOLD_CONSTANT,
        &identity::MERGE_MOVES,
        &identity::CONCAT_DROP_EMPTY,
        &identity::MERGE_CONCATS,
        &identity::SLICE_OF_CONCAT,
        &identity::GATHER_TO_SLICE,
        &identity::REDUCE_OF_ONES,
        &identity::SHARE_EQUAL,
        &tidy::SHARE_OPERANDS,
        &tidy::LITERAL_OPERANDS,
        &tidy::DROP_EXPAND,
        &tidy::SIMPLIFY_BODY,
    ]),
};

pub static TRANSPOSES: Pass = Pass {
    name: "transposes",
    about: "transposes sink until they cancel",
    required: false,
    run: Work::Rules(&[
        &identity::DROP_NO_OP,
        &fold::FOLD_VIEW,
        &identity::MERGE_MOVES,
        &identity::MERGE_CONCATS,
        &identity::SLICE_OF_CONCAT,
        &identity::SHARE_EQUAL,
        &tidy::SHARE_OPERANDS,
        &tidy::DROP_EXPAND,
        &transpose::SINK_TRANSPOSE,
        &transpose::SINK_TRANSPOSE_RESHAPE,
        &transpose::LIFT_TRANSPOSE,
        &reshape::SINK_RESHAPE,
        &transpose::FLATTEN_INTO_DOT,
        &transpose::TRANSPOSE_INTO_DOT,
    ]),
};

pub static LAYOUT: Pass = Pass {
    name: "layout",
    about: "convolutions and windows take their padding in and have two spatial axes; transposes follow",
    required: false,
    run: Work::Rules(&[
        &identity::DROP_NO_OP,
        &fold::FOLD_VIEW,
        &identity::MERGE_MOVES,
        &identity::MERGE_CONCATS,
        &identity::SLICE_OF_CONCAT,
        &identity::SHARE_EQUAL,
        &tidy::SHARE_OPERANDS,
        &identity::PAD_INTO_CONV,
        &identity::WINDOW_TO_REDUCE,
        &reshape::CONV_1D,
        &transpose::SINK_TRANSPOSE,
        &transpose::SINK_TRANSPOSE_RESHAPE,
        &transpose::LIFT_TRANSPOSE,
        &reshape::SINK_RESHAPE,
        &transpose::FLATTEN_INTO_DOT,
        &transpose::TRANSPOSE_INTO_DOT,
        &transpose::TRANSPOSE_TO_RESHAPE,
    ]),
};

pub static RECOMPOSE: Pass = Pass {
    name: "recompose",
    about: "softmax and normalizations are found in their exploded forms",
    required: false,
    run: Work::Rules(&[
        &tidy::SHARE_OPERANDS,
        &tidy::LITERAL_OPERANDS,
        &tidy::SIMPLIFY_BODY,
        &recompose::RECOMPOSE_SOFTMAX,
        &recompose::RECOMPOSE_NORM,
    ]),
};

pub static FUSE: Pass = Pass {
    name: "fuse",
    about: "maps join their neighbours, constant scales go into weights",
    required: false,
    run: Work::Rules(&[
        &identity::DROP_NO_OP,
        &fold::FOLD_VIEW,
        &fold::FOLD_SPLAT,
        &fold::FOLD_CONSTANT,
        &identity::MERGE_MOVES,
        &identity::SHARE_EQUAL,
        &tidy::SHARE_OPERANDS,
        &tidy::LITERAL_OPERANDS,
        &tidy::DROP_EXPAND,
        &tidy::TRIM_CONSTANTS,
        &tidy::SIMPLIFY_BODY,
        &fuse::MAP_INTO_PRODUCER,
        &batch_norm::SCALE_OUT_OF_DOT,
        &batch_norm::SCALE_INTO_WEIGHTS,
        &fuse::MAP_INTO_MAP,
        &fuse::MAP_INTO_PROLOGUE,
        &fuse::MAP_OVER_CONCAT,
        &reshape::SINK_RESHAPE,
    ]),
};

pub static ATTENTION: Pass = Pass {
    name: "attention",
    about: "a product, a softmax and a product are an attention, with what scales, caps and masks its scores",
    required: false,
    run: Work::Rules(&[
        &identity::DROP_NO_OP,
        &identity::MERGE_MOVES,
        &identity::SHARE_EQUAL,
        &attention::RECOMPOSE_ATTENTION,
        &attention::SCALE_INTO_ATTENTION,
        &attention::CAUSAL_ATTENTION,
        &fuse::MAP_INTO_PRODUCER,
        &fuse::MAP_INTO_MAP,
        &tidy::SIMPLIFY_BODY,
    ]),
};

pub static TIDY: Pass = Pass {
    name: "tidy",
    about: "what became equal when constants were shared is one",
    required: false,
    run: Work::Rules(&[&identity::SHARE_EQUAL, &tidy::SHARE_OPERANDS, &tidy::SIMPLIFY_BODY]),
};

/// Every rule of every pass, each once, in order of appearance.
pub fn rules() -> Vec<&'static Rule> {
    let mut out: Vec<&'static Rule> = Vec::new();
    for pass in ALL {
        if let Work::Rules(rules) = pass.run {
            for rule in rules {
                if !out.iter().any(|r| r.name == rule.name) {
                    out.push(rule);
                }
            }
        }
    }
    out
}
