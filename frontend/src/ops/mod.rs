//! THE TABLE: one row per ONNX operator with its domain, the opset it exists since, how many operands and
//! results it may have, and how it becomes tensor operators. A pointwise operator is its scalar body; any
//! other is a function in the file of its family.

pub mod attention;
pub mod choose;
pub mod classical;
pub mod constant;
pub mod contrib;
pub mod control;
pub mod conv;
pub mod einsum;
pub mod index;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod norm;
pub mod pointwise;
pub mod qlinear;
pub mod quant;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod sample;
pub mod scatter;
pub mod sequence;
pub mod shape;
pub mod signal;
pub mod stream;
pub mod window;

use crate::cx::{Cx, Made};

/// How an operator becomes tensor operators.
pub enum How {
    /// A scalar body over broadcast operands. `:T` in it stands for the type of the first operand, `$name` for
    /// the float attribute of that name, whose default stands beside.
    Body(&'static str, &'static [(&'static str, f32)]),
    Function(fn(&mut Cx) -> Made),
}

/// One ONNX operator.
pub struct Row {
    pub name: &'static str,
    /// Empty for ONNX's own.
    pub domain: &'static str,
    /// The first opset that has it.
    pub since: i64,
    /// Fewest and most operands.
    pub inputs: (usize, usize),
    /// Most results.
    pub outputs: usize,
    pub how: How,
}

/// Any number of operands.
const ANY: usize = usize::MAX;

const fn body(name: &'static str, since: i64, inputs: usize, text: &'static str) -> Row {
    Row { name, domain: "", since, inputs: (inputs, inputs), outputs: 1, how: How::Body(text, &[]) }
}

const fn shaped(name: &'static str, since: i64, attributes: &'static [(&'static str, f32)], text: &'static str) -> Row {
    Row { name, domain: "", since, inputs: (1, 1), outputs: 1, how: How::Body(text, attributes) }
}

const fn op(name: &'static str, since: i64, inputs: (usize, usize), function: fn(&mut Cx) -> Made) -> Row {
    Row { name, domain: "", since, inputs, outputs: 1, how: How::Function(function) }
}

const fn outputs(row: Row, outputs: usize) -> Row {
    Row { outputs, ..row }
}

/// An operator of ONNX Runtime.
const fn ms(name: &'static str, inputs: (usize, usize), outputs: usize, function: fn(&mut Cx) -> Made) -> Row {
    Row { name, domain: "com.microsoft", since: 1, inputs, outputs, how: How::Function(function) }
}

/// The row of an operator.
pub fn find(domain: &str, name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name && row.domain == domain)
}

#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    // arithmetic
    body("Abs", 1, 1, "{ abs(a) }"),
    body("Add", 1, 2, "{ add(a, b) }"),
    body("Ceil", 1, 1, "{ ceil(a) }"),
    body("Div", 1, 2, "{ div(a, b) }"),
    body("Erf", 9, 1, "{ erf(a) }"),
    body("Exp", 1, 1, "{ exp(a) }"),
    body("Floor", 1, 1, "{ floor(a) }"),
    body("Log", 1, 1, "{ log(a) }"),
    op("Mod", 10, (2, 2), pointwise::modulo),
    body("Mul", 1, 2, "{ mul(a, b) }"),
    body("Neg", 1, 1, "{ neg(a) }"),
    op("Pow", 1, (2, 2), pointwise::pow),
    body("Reciprocal", 1, 1, "{ div(1.0:T, a) }"),
    body("Round", 11, 1, "{ round(a) }"),
    body("Sign", 9, 1, "{ sign(a) }"),
    body("Sqrt", 1, 1, "{ sqrt(a) }"),
    body("Sub", 1, 2, "{ sub(a, b) }"),
    op("Max", 1, (1, ANY), pointwise::max),
    op("Mean", 1, (1, ANY), pointwise::mean),
    op("Min", 1, (1, ANY), pointwise::min),
    op("Sum", 1, (1, ANY), pointwise::sum),
    // trigonometry
    body("Acos", 7, 1, "{ acos(a) }"),
    body("Acosh", 9, 1, "{ acosh(a) }"),
    body("Asin", 7, 1, "{ asin(a) }"),
    body("Asinh", 9, 1, "{ asinh(a) }"),
    body("Atan", 7, 1, "{ atan(a) }"),
    body("Atanh", 9, 1, "{ atanh(a) }"),
    body("Cos", 7, 1, "{ cos(a) }"),
    body("Cosh", 9, 1, "{ cosh(a) }"),
    body("Sin", 7, 1, "{ sin(a) }"),
    body("Sinh", 9, 1, "{ sinh(a) }"),
    body("Tan", 7, 1, "{ tan(a) }"),
    body("Tanh", 1, 1, "{ tanh(a) }"),
    // comparison, logic, bits
    body("And", 1, 2, "{ and(a, b) }"),
    op("BitShift", 11, (2, 2), pointwise::bit_shift),
    body("BitwiseAnd", 18, 2, "{ bit_and(a, b) }"),
    body("BitwiseNot", 18, 1, "{ bit_not(a) }"),
    body("BitwiseOr", 18, 2, "{ bit_or(a, b) }"),
    body("BitwiseXor", 18, 2, "{ bit_xor(a, b) }"),
    body("Equal", 1, 2, "{ eq(a, b) }"),
    body("Greater", 1, 2, "{ gt(a, b) }"),
    body("GreaterOrEqual", 12, 2, "{ ge(a, b) }"),
    op("IsInf", 10, (1, 1), pointwise::is_inf),
    body("IsNaN", 9, 1, "{ is_nan(a) }"),
    body("Less", 1, 2, "{ lt(a, b) }"),
    body("LessOrEqual", 12, 2, "{ le(a, b) }"),
    body("Not", 1, 1, "{ not(a) }"),
    body("Or", 1, 2, "{ or(a, b) }"),
    body("Where", 9, 3, "{ select(a, b, c) }"),
    body("Xor", 1, 2, "{ xor(a, b) }"),
    // activations
    shaped("Celu", 12, &[("alpha", 1.0)], "{ t0 = div(a, $alpha:T); t1 = exp(t0); t2 = sub(t1, 1.0:T); t3 = mul(t2, $alpha:T); t4 = min(t3, 0.0:T); t5 = max(a, 0.0:T); add(t4, t5) }"),
    op("Clip", 1, (1, 3), pointwise::clip),
    shaped("Elu", 1, &[("alpha", 1.0)], "{ t0 = exp(a); t1 = sub(t0, 1.0:T); t2 = mul(t1, $alpha:T); t3 = lt(a, 0.0:T); select(t3, t2, a) }"),
    op("Gelu", 20, (1, 1), pointwise::gelu),
    shaped("HardSigmoid", 1, &[("alpha", 0.2), ("beta", 0.5)], "{ t0 = mul(a, $alpha:T); t1 = add(t0, $beta:T); t2 = max(t1, 0.0:T); min(t2, 1.0:T) }"),
    body("HardSwish", 14, 1, "{ t0 = div(a, 6.0:T); t1 = add(t0, 0.5:T); t2 = max(t1, 0.0:T); t3 = min(t2, 1.0:T); mul(a, t3) }"),
    shaped("LeakyRelu", 1, &[("alpha", 0.01)], "{ t0 = mul(a, $alpha:T); t1 = lt(a, 0.0:T); select(t1, t0, a) }"),
    // a * tanh(softplus(a)), softplus as below
    body("Mish", 18, 1, "{ t0 = abs(a); t1 = neg(t0); t2 = exp(t1); t3 = add(t2, 1.0:T); t4 = log(t3); t5 = sub(t3, 1.0:T); t6 = div(t2, t5); t7 = mul(t4, t6); t8 = eq(t3, 1.0:T); t9 = select(t8, t2, t7); t10 = max(a, 0.0:T); t11 = add(t9, t10); t12 = tanh(t11); mul(a, t12) }"),
    op("PRelu", 1, (2, 2), pointwise::prelu),
    body("Relu", 1, 1, "{ max(a, 0:T) }"),
    shaped("Selu", 1, &[("alpha", 1.673_263_2), ("gamma", 1.050_701)], "{ t0 = exp(a); t1 = sub(t0, 1.0:T); t2 = mul(t1, $alpha:T); t3 = gt(a, 0.0:T); t4 = select(t3, a, t2); mul(t4, $gamma:T) }"),
    shaped("Shrink", 9, &[("bias", 0.0), ("lambd", 0.5)], "{ t0 = neg($lambd:T); t1 = lt(a, t0); t2 = add(a, $bias:T); t3 = gt(a, $lambd:T); t4 = sub(a, $bias:T); t5 = select(t3, t4, 0:T); select(t1, t2, t5) }"),
    body("Sigmoid", 1, 1, "{ sigmoid(a) }"),
    // max(a, 0) + log(1 + u) with u = exp(-|a|). The rounding of 1 + u is made good by u / ((1 + u) - 1).
    body("Softplus", 1, 1, "{ t0 = abs(a); t1 = neg(t0); t2 = exp(t1); t3 = add(t2, 1.0:T); t4 = log(t3); t5 = sub(t3, 1.0:T); t6 = div(t2, t5); t7 = mul(t4, t6); t8 = eq(t3, 1.0:T); t9 = select(t8, t2, t7); t10 = max(a, 0.0:T); add(t9, t10) }"),
    body("Softsign", 1, 1, "{ t0 = abs(a); t1 = add(t0, 1.0:T); div(a, t1) }"),
    shaped("Swish", 24, &[("alpha", 1.0)], "{ t0 = mul(a, $alpha:T); t1 = sigmoid(t0); mul(a, t1) }"),
    shaped("ThresholdedRelu", 10, &[("alpha", 1.0)], "{ t0 = gt(a, $alpha:T); select(t0, a, 0.0:T) }"),
    // conversion
    op("BitCast", 26, (1, 1), pointwise::bit_cast),
    op("Cast", 1, (1, 1), pointwise::cast),
    op("CastLike", 15, (2, 2), pointwise::cast_like),
    outputs(op("DequantizeLinear", 10, (2, 3), quant::dequantize), 1),
    outputs(op("DynamicQuantizeLinear", 11, (1, 1), quant::dynamic), 3),
    op("QuantizeLinear", 10, (2, 3), quant::quantize),
    // products
    op("Conv", 1, (2, 3), conv::conv),
    op("ConvInteger", 10, (2, 4), quant::conv_integer),
    op("ConvTranspose", 1, (2, 3), conv::transposed),
    op("Einsum", 12, (1, ANY), einsum::einsum),
    op("Gemm", 1, (2, 3), linear::gemm),
    op("MatMul", 1, (2, 2), linear::matmul),
    op("MatMulInteger", 10, (2, 4), quant::matmul_integer),
    op("QLinearConv", 10, (8, 9), quant::qlinear_conv),
    op("QLinearMatMul", 10, (8, 8), quant::qlinear_matmul),
    // windows
    op("AveragePool", 1, (1, 1), window::average),
    op("GlobalAveragePool", 1, (1, 1), window::global_average),
    op("GlobalLpPool", 1, (1, 1), window::global_lp),
    op("GlobalMaxPool", 1, (1, 1), window::global_max),
    op("LRN", 1, (1, 1), window::local_response),
    op("LpPool", 1, (1, 1), window::lp),
    outputs(op("MaxPool", 1, (1, 1), window::max), 2),
    // norms
    outputs(op("BatchNormalization", 1, (5, 5), norm::batch), 5),
    op("GroupNormalization", 18, (3, 3), norm::group),
    op("InstanceNormalization", 1, (3, 3), norm::instance),
    outputs(op("LayerNormalization", 17, (2, 3), norm::layer), 3),
    op("LpNormalization", 1, (1, 1), norm::lp),
    op("MeanVarianceNormalization", 9, (1, 1), norm::mean_variance),
    op("RMSNormalization", 23, (2, 2), norm::rms),
    // reductions
    op("ArgMax", 1, (1, 1), reduce::arg_max),
    op("ArgMin", 1, (1, 1), reduce::arg_min),
    op("CumProd", 26, (2, 2), reduce::cumulative_product),
    op("CumSum", 11, (2, 2), reduce::cumulative_sum),
    op("Hardmax", 1, (1, 1), reduce::hardmax),
    op("LogSoftmax", 1, (1, 1), reduce::log_softmax),
    op("ReduceL1", 1, (1, 2), reduce::l1),
    op("ReduceL2", 1, (1, 2), reduce::l2),
    op("ReduceLogSum", 1, (1, 2), reduce::log_sum),
    op("ReduceLogSumExp", 1, (1, 2), reduce::log_sum_exp),
    op("ReduceMax", 1, (1, 2), reduce::max),
    op("ReduceMean", 1, (1, 2), reduce::mean),
    op("ReduceMin", 1, (1, 2), reduce::min),
    op("ReduceProd", 1, (1, 2), reduce::prod),
    op("ReduceSum", 1, (1, 2), reduce::sum),
    op("ReduceSumSquare", 1, (1, 2), reduce::sum_square),
    op("Softmax", 1, (1, 1), reduce::softmax),
    // layout
    op("CenterCropPad", 18, (2, 2), layout::center_crop_pad),
    op("Concat", 1, (1, ANY), layout::concat),
    op("DepthToSpace", 1, (1, 1), layout::depth_to_space),
    outputs(op("Dropout", 1, (1, 3), layout::dropout), 2),
    op("Expand", 8, (2, 2), layout::expand),
    op("Flatten", 1, (1, 1), layout::flatten),
    op("Identity", 1, (1, 1), layout::identity),
    op("Pad", 1, (1, 4), layout::pad),
    op("Reshape", 1, (1, 2), layout::reshape),
    op("Slice", 1, (1, 5), layout::slice),
    op("SpaceToDepth", 1, (1, 1), layout::space_to_depth),
    outputs(op("Split", 1, (1, 2), layout::split), ANY),
    op("Squeeze", 1, (1, 2), layout::squeeze),
    op("Tile", 6, (2, 2), layout::tile),
    op("Transpose", 1, (1, 1), layout::transpose),
    op("Unsqueeze", 1, (1, 2), layout::unsqueeze),
    // resampling
    op("AffineGrid", 20, (2, 2), sample::affine_grid),
    op("DeformConv", 19, (3, 5), sample::deform_conv),
    op("GridSample", 16, (2, 2), sample::grid),
    op("RoiAlign", 10, (3, 3), sample::roi_align),
    op("Resize", 10, (1, 4), resize::resize),
    op("Upsample", 1, (1, 2), resize::upsample),
    // attention
    outputs(op("Attention", 23, (3, 7), attention::attention), 4),
    op("RotaryEmbedding", 23, (3, 4), attention::rotary_embedding),
    op("SwiGLU", 28, (2, 2), attention::swiglu),
    op("TensorScatter", 24, (2, 3), attention::tensor_scatter),
    Row { domain: "ai.onnx.preview", ..op("FlexAttention", 1, (3, 3), attention::flex_attention) },
    // steps
    outputs(op("CausalConvWithState", 27, (2, 4), stream::causal_conv), 2),
    outputs(op("GRU", 1, (3, 6), recurrent::gru), 2),
    outputs(op("LinearAttention", 27, (3, 6), stream::linear_attention), 2),
    outputs(op("LSTM", 1, (3, 8), recurrent::lstm), 3),
    outputs(op("RNN", 1, (3, 6), recurrent::rnn), 2),
    // losses
    op("NegativeLogLikelihoodLoss", 12, (2, 3), loss::negative_log_likelihood),
    outputs(op("SoftmaxCrossEntropyLoss", 12, (2, 3), loss::softmax_cross_entropy), 2),
    // signals
    op("BlackmanWindow", 17, (1, 1), signal::blackman),
    op("DFT", 17, (1, 3), signal::dft),
    op("HammingWindow", 17, (1, 1), signal::hamming),
    op("HannWindow", 17, (1, 1), signal::hann),
    op("MelWeightMatrix", 17, (5, 5), signal::mel_weights),
    op("STFT", 17, (2, 4), signal::stft),
    // indices
    op("Col2Im", 18, (3, 3), scatter::col2im),
    op("Compress", 9, (2, 2), scatter::compress),
    op("NonMaxSuppression", 10, (2, 5), choose::non_max_suppression),
    op("NonZero", 9, (1, 1), choose::non_zero),
    outputs(op("Unique", 11, (1, 1), choose::unique), 4),
    op("Det", 11, (1, 1), scatter::determinant),
    op("MaxUnpool", 9, (2, 3), scatter::max_unpool),
    op("Scatter", 9, (3, 3), scatter::elements),
    op("ScatterElements", 11, (3, 3), scatter::elements),
    op("ScatterND", 11, (3, 3), scatter::nd),
    outputs(op("TopK", 1, (1, 2), scatter::top_k), 2),
    op("Gather", 1, (2, 2), index::gather),
    op("GatherElements", 11, (2, 2), index::gather_elements),
    op("GatherND", 11, (2, 2), index::gather_nd),
    op("OneHot", 9, (3, 3), index::one_hot),
    op("ReverseSequence", 10, (2, 2), index::reverse_sequence),
    op("Trilu", 14, (1, 2), index::trilu),
    // constants and shapes
    op("Constant", 1, (0, 0), constant::constant),
    op("ConstantOfShape", 9, (1, 1), constant::constant_of_shape),
    op("EyeLike", 9, (1, 1), constant::eye_like),
    op("Range", 11, (3, 3), constant::range),
    op("Shape", 1, (1, 1), shape::shape),
    op("Size", 1, (1, 1), shape::size),
    // control
    outputs(op("If", 1, (1, 1), control::branch), ANY),
    outputs(op("Loop", 1, (2, ANY), control::repeat), ANY),
    outputs(op("Scan", 8, (1, ANY), control::scan), ANY),
    // sequences and optionals
    op("ConcatFromSequence", 11, (1, 1), sequence::concat),
    op("Optional", 15, (0, 1), sequence::optional),
    op("OptionalGetElement", 15, (1, 1), sequence::element),
    op("OptionalHasElement", 15, (0, 1), sequence::has_element),
    op("SequenceAt", 11, (2, 2), sequence::at),
    op("SequenceConstruct", 11, (1, ANY), sequence::construct),
    op("SequenceEmpty", 11, (0, 0), sequence::empty),
    op("SequenceErase", 11, (1, 2), sequence::erase),
    op("SequenceInsert", 11, (2, 3), sequence::insert),
    op("SequenceLength", 11, (1, 1), sequence::length),
    op("SplitToSequence", 11, (1, 2), sequence::split),
    // numbers of the classical models
    Row { domain: "ai.onnx.ml", ..op("ArrayFeatureExtractor", 1, (2, 2), classical::features) },
    Row { domain: "ai.onnx.ml", ..op("Binarizer", 1, (1, 1), classical::binarizer) },
    op("TfIdfVectorizer", 9, (1, 1), classical::count_grams),
    // ONNX Runtime's domain
    ms("BiasGelu", (2, 2), 1, contrib::gelu),
    ms("DequantizeLinear", (2, 3), 1, quant::dequantize),
    ms("DynamicQuantizeMatMul", (3, 5), 1, qlinear::dynamic_matmul),
    ms("EmbedLayerNormalization", (7, 9), 3, contrib::embed_layer_norm),
    ms("FastGelu", (1, 2), 1, contrib::fast_gelu),
    ms("FusedConv", (2, 4), 1, contrib::fused_conv),
    ms("FusedMatMul", (2, 2), 1, contrib::fused_matmul),
    ms("GatherBlockQuantized", (3, 4), 1, qlinear::gather_blocks),
    ms("Gelu", (1, 1), 1, contrib::gelu),
    ms("GroupQueryAttention", (6, ANY), 3, contrib::group_query_attention),
    ms("Inverse", (1, 1), 1, contrib::inverse),
    ms("MatMulIntegerToFloat", (4, 7), 1, qlinear::matmul_to_float),
    ms("MatMulNBits", (3, 6), 1, qlinear::matmul_bits),
    ms("MoE", (5, ANY), 1, contrib::experts),
    ms("MultiHeadAttention", (1, 8), 3, contrib::multi_head_attention),
    ms("NhwcMaxPool", (1, 1), 1, qlinear::nhwc_max),
    ms("QAttention", (5, 9), 1, qlinear::attention),
    ms("QGemm", (6, 9), 1, qlinear::gemm),
    ms("QLinearAdd", (7, 8), 1, qlinear::add),
    ms("QLinearAveragePool", (4, 5), 1, qlinear::average),
    ms("QLinearConcat", (5, ANY), 1, qlinear::concat),
    ms("QLinearGlobalAveragePool", (4, 5), 1, qlinear::global_average),
    ms("QLinearLeakyRelu", (4, 5), 1, qlinear::leaky_relu),
    ms("QLinearMul", (7, 8), 1, qlinear::mul),
    ms("QLinearSigmoid", (4, 5), 1, qlinear::sigmoid),
    ms("QLinearSoftmax", (4, 5), 1, qlinear::softmax),
    ms("QuantizeLinear", (2, 3), 1, quant::quantize),
    ms("QuickGelu", (1, 1), 1, contrib::quick_gelu),
    ms("RotaryEmbedding", (4, 4), 1, contrib::rotary_embedding),
    ms("SkipLayerNormalization", (3, 5), 4, contrib::skip_layer_norm),
    ms("SkipSimplifiedLayerNormalization", (3, 4), 4, contrib::skip_rms_norm),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_unique_and_bodies_parse() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            assert!(seen.insert((row.domain, row.name)), "{} stands twice", row.name);
            assert!(crate::OPSETS.contains(&row.since) && row.inputs.0 <= row.inputs.1, "{}", row.name);
            if let How::Body(text, defaults) = &row.how {
                let body = pointwise::instantiate(text, defaults.iter().copied(), ir::Dtype::F32).expect("it is for floats");
                assert_eq!(body.params as usize, row.inputs.0, "{}", row.name);
            }
        }
    }
}
