//! Operators of ONNX Runtime's domain on floats: fused norms and activations, attention with caches, experts.

use ir::graph::op::{ArgKind, Real, ReduceKind};
use ir::scalar::ScalarOp;
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Value, body, number};
use crate::cx::{Cx, Made, axis, must_be, one, zero};
use crate::ops::attention::{self, Scoring, attend, heads, join_heads, split_heads};
use crate::ops::{conv, index, linear};

/// A norm over the last axis, scaled and shifted.
fn norm(cx: &mut Cx, x: &Value, scale: &Value, bias: Option<&Value>, center: bool) -> Result<Value, Fault> {
    let epsilon = Real(f64::from(cx.attrs.float_or("epsilon", 1e-12)?));
    must_be(x.rank() > 0 && x.dtype().is_float(), "it takes rows of floats", x)?;
    let axes = vec![x.rank() - 1];
    match bias {
        Some(bias) => {
            let epilogue = body("{ t0 = mul(a, b); add(t0, c) }", x.dtype())?;
            cx.add(Op::Norm { axes, epsilon, center, prologue: Body::identity(), epilogue }, &[x, scale, bias])
        }
        None => {
            cx.add(Op::Norm { axes, epsilon, center, prologue: Body::identity(), epilogue: body("{ mul(a, b) }", x.dtype())? }, &[x, scale])
        }
    }
}

/// The statistics between the results are not given.
fn with_sum(cx: &Cx, made: Value, sum: Value) -> Made {
    if cx.wants(1) || cx.wants(2) {
        return Err(Fault::unsupported("its statistics are not supported as outputs"));
    }
    Ok(vec![made.clone(), made.clone(), made, sum])
}

fn total(cx: &mut Cx, x: &Value, others: &[Option<Value>]) -> Result<Value, Fault> {
    let mut sum = x.clone();
    for other in others.iter().flatten() {
        sum = cx.apply(ScalarOp::Add, &[&sum, other])?;
    }
    must_be(sum.shape() == x.shape(), "the summands broadcast to the first", &sum)?;
    Ok(sum)
}

pub fn skip_layer_norm(cx: &mut Cx) -> Made {
    let (x, skip, scale) = (cx.input(0)?, cx.optional(1), cx.input(2)?);
    let (bias, shift) = (cx.optional(3), cx.optional(4));
    let sum = total(cx, &x, &[skip, shift])?;
    let made = norm(cx, &sum, &scale, bias.as_ref(), true)?;
    with_sum(cx, made, sum)
}

pub fn skip_rms_norm(cx: &mut Cx) -> Made {
    let (x, skip, scale, shift) = (cx.input(0)?, cx.optional(1), cx.input(2)?, cx.optional(3));
    let sum = total(cx, &x, &[skip, shift])?;
    let made = norm(cx, &sum, &scale, None, false)?;
    with_sum(cx, made, sum)
}

/// Words, places and segments summed and normed; the second result counts the words that the mask keeps.
pub fn embed_layer_norm(cx: &mut Cx) -> Made {
    let (words, segments, table) = (cx.input(0)?, cx.optional(1), cx.input(2)?);
    let (places, kinds, scale, bias) = (cx.input(3)?, cx.optional(4), cx.input(5)?, cx.input(6)?);
    let (mask, positions) = (cx.optional(7), cx.optional(8));
    cx.attrs.ignore(&["mask_index_type"]);
    must_be(words.rank() == 2, "words are [batch, sequence]", &words)?;
    let mut sum = cx.gather(&table, &words, 0)?;
    let row = match positions {
        Some(positions) => cx.gather(&places, &positions, 0)?,
        None => cx.part(&places, 0, zero(), words.shape()[1].clone())?,
    };
    sum = cx.apply(ScalarOp::Add, &[&sum, &row])?;
    if let (Some(segments), Some(kinds)) = (segments, kinds) {
        let row = cx.gather(&kinds, &segments, 0)?;
        sum = cx.apply(ScalarOp::Add, &[&sum, &row])?;
    }
    let made = norm(cx, &sum, &scale, Some(&bias), true)?;
    let batch = vec![words.shape()[0].clone()];
    let kept = match mask {
        Some(mask) => {
            let kept = cx.reduce(&mask, ReduceKind::Sum, &[1])?;
            cx.reshape(&kept, batch)?
        }
        None => cx.fill(Dtype::I32, 0.0, &batch)?,
    };
    Ok(vec![made, kept, sum])
}

fn shifted(cx: &mut Cx) -> Result<Value, Fault> {
    let (x, bias) = (cx.input(0)?, cx.optional(1));
    total(cx, &x, &[bias])
}

fn erf_gelu(cx: &mut Cx, x: &Value) -> Result<Value, Fault> {
    let text = format!(
        "{{ t0 = mul(a, {}:T); t1 = erf(t0); t2 = add(t1, 1.0:T); t3 = mul(a, 0.5:T); mul(t3, t2) }}",
        number(std::f64::consts::FRAC_1_SQRT_2)
    );
    cx.pointwise(&text, x.dtype(), &[x])
}

/// With a bias or without.
pub fn gelu(cx: &mut Cx) -> Made {
    let x = shifted(cx)?;
    Ok(vec![erf_gelu(cx, &x)?])
}

pub fn fast_gelu(cx: &mut Cx) -> Made {
    let x = shifted(cx)?;
    let text = "{ t0 = mul(a, a); t1 = mul(t0, 0.035677408136300125:T); t2 = add(t1, 0.7978845608028654:T); t3 = mul(a, t2); \
                t4 = tanh(t3); t5 = mul(t4, 0.5:T); t6 = add(t5, 0.5:T); mul(a, t6) }";
    Ok(vec![cx.pointwise(text, x.dtype(), &[&x])?])
}

pub fn quick_gelu(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let alpha = number(f64::from(cx.attrs.float_or("alpha", 1.702)?));
    Ok(vec![cx.pointwise(&format!("{{ t0 = mul(a, {alpha}:T); t1 = sigmoid(t0); mul(a, t1) }}"), x.dtype(), &[&x])?])
}

/// What a fused operator applies at its end.
fn activated(cx: &mut Cx, x: &Value) -> Result<Value, Fault> {
    let Some(name) = cx.attrs.text("activation")? else { return Ok(x.clone()) };
    let given = cx.attrs.floats("activation_params")?.unwrap_or(&[]);
    let at = |i: usize, default: f32| number(f64::from(given.get(i).copied().unwrap_or(default)));
    let text = match name {
        "" => return Ok(x.clone()),
        "Relu" => "{ max(a, 0.0:T) }".to_string(),
        "Tanh" => "{ tanh(a) }".to_string(),
        "Sigmoid" => "{ sigmoid(a) }".to_string(),
        "LeakyRelu" => format!("{{ t0 = mul(a, {}:T); t1 = lt(a, 0.0:T); select(t1, t0, a) }}", at(0, 0.01)),
        "Clip" => format!("{{ t0 = max(a, {}:T); min(t0, {}:T) }}", at(0, f32::MIN), at(1, f32::MAX)),
        "HardSigmoid" => {
            format!("{{ t0 = mul(a, {}:T); t1 = add(t0, {}:T); t2 = max(t1, 0.0:T); min(t2, 1.0:T) }}", at(0, 0.2), at(1, 0.5))
        }
        other => return Err(Fault::unsupported(format!("the activation {other:?} is not supported"))),
    };
    cx.pointwise(&text, x.dtype(), &[x])
}

pub fn fused_conv(cx: &mut Cx) -> Made {
    let (x, w, bias, summand) = (cx.input(0)?, cx.input(1)?, cx.optional(2), cx.optional(3));
    let made = conv::convolve(cx, &x, &w, bias)?;
    let made = total(cx, &made, &[summand])?;
    Ok(vec![activated(cx, &made)?])
}

pub fn fused_matmul(cx: &mut Cx) -> Made {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.attrs.flag("transBatchA", false)? || cx.attrs.flag("transBatchB", false)? {
        return Err(Fault::unsupported("moving the batch behind the rows is not supported"));
    }
    for (name, value) in [("transA", &mut a), ("transB", &mut b)] {
        if cx.attrs.flag(name, false)? && value.rank() > 1 {
            let mut perm: Vec<usize> = (0..value.rank()).collect();
            perm.swap(value.rank() - 2, value.rank() - 1);
            *value = cx.transpose(value, &perm)?;
        }
    }
    let (dtype, alpha) = (a.dtype(), cx.attrs.float_or("alpha", 1.0)?);
    if alpha == 1.0 {
        return Ok(vec![linear::product(cx, &a, &b)?]);
    }
    (a, b) = (cx.wide(&a)?, cx.wide(&b)?);
    let made = linear::product(cx, &a, &b)?;
    let made = cx.pointwise(&format!("{{ mul(a, {}:T) }}", number(f64::from(alpha))), made.dtype(), &[&made])?;
    Ok(vec![cx.cast(&made, dtype)?])
}

pub fn rotary_embedding(cx: &mut Cx) -> Made {
    let (x, positions, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    cx.attrs.ignore(&["scale", "is_packed_batching"]);
    must_be(matches!(positions.dtype(), Dtype::I64) && (x.rank() == 3 || x.rank() == 4), "places are int64", &positions)?;
    let length = x.shape()[if x.rank() == 4 { 2 } else { 1 }].clone();
    let positions = if positions.rank() == 1 {
        let places = cx.iota(&length, 1, 2)?;
        let start = cx.reshape(&positions, vec![one(), one()])?;
        cx.apply(ScalarOp::Add, &[&start, &places])?
    } else {
        positions
    };
    let (cos, sin) = (attention::angles(cx, &cos, Some(&positions))?, attention::angles(cx, &sin, Some(&positions))?);
    let (count, width) = (cx.attrs.int_or("num_heads", 0)?, cx.attrs.int_or("rotary_embedding_dim", 0)?);
    let interleaved = cx.attrs.flag("interleaved", false)?;
    Ok(vec![attention::rotary_layout(cx, &x, count, [&cos, &sin], width, interleaved)?])
}

fn scoring(cx: &Cx, size: usize, dtype: Dtype) -> Result<Scoring, Fault> {
    let scale = Some(cx.attrs.float_or("scale", 0.0)?).filter(|s| *s != 0.0).unwrap_or(attention::usual_scale(size));
    let softcap = Some(cx.attrs.float_or("softcap", 0.0)?).filter(|cap| *cap > 0.0);
    Ok(Scoring { root: scale.sqrt(), softcap, precision: if dtype == Dtype::F64 { dtype } else { Dtype::F32 } })
}

/// Keys up to a query's own place: `[s, t]` to add.
fn triangle(cx: &mut Cx, queries: &Dim, keys: &Dim, dtype: Dtype) -> Result<Value, Fault> {
    let (row, column) = (cx.iota(queries, 0, 2)?, cx.iota(keys, 1, 2)?);
    let before = crate::symbolic::value(cx, vec![keys.clone() - queries.clone()], 1);
    let text = "{ t0 = add(a, c); t1 = le(b, t0); select(t1, 0.0:T, -inf:T) }";
    cx.pointwise(text, dtype, &[&row, &column, &before])
}

/// `[batch, sequence, 3 * hidden]`: queries, keys and values in one.
pub fn packed_attention(cx: &mut Cx, all: &Value) -> Made {
    let count = heads(cx, "num_heads")?;
    cx.attrs.ignore(&["mask_filter_value", "past_present_share_buffer", "do_rotary"]);
    let width = all.size(2)? / 3;
    let mut parts = Vec::with_capacity(3);
    for i in 0..3 {
        let part = cx.part(all, 2, Dim::from(i * width), Dim::from(width))?;
        parts.push(split_heads(cx, &part, count)?);
    }
    let length = all.shape()[1].clone();
    let bias = match cx.attrs.flag("unidirectional", false)? {
        true => Some(triangle(cx, &length, &length, all.dtype())?),
        false => None,
    };
    let scoring = scoring(cx, width / count, all.dtype())?;
    let made = attend(cx, [&parts[0], &parts[1], &parts[2]], &scoring, bias.as_ref(), false)?;
    Ok(vec![join_heads(cx, &made.result)?])
}

pub fn multi_head_attention(cx: &mut Cx) -> Made {
    let (mut q, Some(mut k), Some(mut v)) = (cx.input(0)?, cx.optional(1), cx.optional(2)) else {
        return Err(Fault::unsupported("packed queries, keys and values are not supported"));
    };
    let (shift, padding, added, past_key, past_value) = (cx.optional(3), cx.optional(4), cx.optional(5), cx.optional(6), cx.optional(7));
    let count = heads(cx, "num_heads")?;
    let filter = cx.attrs.float_or("mask_filter_value", -10000.0)?;
    must_be(q.rank() == 3, "queries are [batch, sequence, numbers]", &q)?;
    if k.rank() != v.rank() || !matches!(k.rank(), 3 | 4) {
        return Err(Fault::unsupported("packed keys and values are not supported"));
    }
    if let Some(shift) = shift {
        must_be(shift.rank() == 1 && k.rank() == 3, "the bias is a list for queries, keys and values", &shift)?;
        let mut start = 0;
        for value in [&mut q, &mut k, &mut v] {
            let width = value.size(2)?;
            must_be(shift.size(0)? >= start + width, "the bias is a list for queries, keys and values", &shift)?;
            let part = cx.part(&shift, 0, Dim::from(start), Dim::from(width))?;
            start += width;
            *value = cx.apply(ScalarOp::Add, &[value, &part])?;
        }
    }
    let q = split_heads(cx, &q, count)?;
    let (mut k, mut v) = if k.rank() == 3 { (split_heads(cx, &k, count)?, split_heads(cx, &v, count)?) } else { (k, v) };
    if let (Some(past_key), Some(past_value)) = (past_key, past_value) {
        k = cx.concat(&[&past_key, &k], 2)?;
        v = cx.concat(&[&past_value, &v], 2)?;
    }
    let dtype = q.dtype();
    let (queries, keys) = (q.shape()[2].clone(), k.shape()[2].clone());
    let mut bias = added;
    let add = |cx: &mut Cx, bias: &mut Option<Value>, more: Value| -> Result<(), Fault> {
        *bias = Some(match bias.take() {
            Some(before) => cx.apply(ScalarOp::Add, &[&before, &more])?,
            None => more,
        });
        Ok(())
    };
    if let Some(padding) = padding {
        if padding.rank() != 2 {
            return Err(Fault::unsupported("a mask that is not [batch, keys] is not supported"));
        }
        let shape = vec![padding.shape()[0].clone(), one(), one(), padding.shape()[1].clone()];
        let padding = cx.reshape(&padding, shape)?;
        let text = format!("{{ t0 = eq(a, 0:i32); select(t0, {}:{}, 0.0:{}) }}", number(f64::from(filter)), dtype.name(), dtype.name());
        let hidden = cx.pointwise(&text, Dtype::I32, &[&padding])?;
        add(cx, &mut bias, hidden)?;
    }
    if cx.attrs.flag("unidirectional", false)? {
        let triangle = triangle(cx, &queries, &keys, dtype)?;
        add(cx, &mut bias, triangle)?;
    }
    let scoring = scoring(cx, q.size(3)?, dtype)?;
    let made = attend(cx, [&q, &k, &v], &scoring, bias.as_ref(), false)?;
    Ok(vec![join_heads(cx, &made.result)?, k, v])
}

/// Attention with a cache that is as long as the longest sequence; each sequence has its own length.
pub fn group_query_attention(cx: &mut Cx) -> Made {
    let q = cx.input(0)?;
    let (k, v, past_key, past_value) = (cx.optional(1), cx.optional(2), cx.optional(3), cx.optional(4));
    let (last, cos, sin) = (cx.input(5)?, cx.optional(7), cx.optional(8));
    let (many, few) = (heads(cx, "num_heads")?, heads(cx, "kv_num_heads")?);
    cx.attrs.ignore(&["kv_cache_bit_width", "k_quant_type", "v_quant_type", "qk_output"]);
    if cx.attrs.flag("smooth_softmax", false)? || (9..cx.inputs.len()).any(|i| cx.optional(i).is_some()) {
        return Err(Fault::unsupported("places, masks, sinks and quantized caches as operands are not supported"));
    }
    must_be(q.rank() == 3 && q.dtype().is_float(), "queries are [batch, sequence, numbers]", &q)?;
    let (batch, length) = (q.size(0)?, q.size(1)?);
    let (q, k, v) = match (k, v) {
        (Some(k), Some(v)) => (split_heads(cx, &q, many)?, split_heads(cx, &k, few)?, split_heads(cx, &v, few)?),
        _ => {
            let all = split_heads(cx, &q, many + 2 * few)?;
            let mut part = |start: usize, count: usize| cx.part(&all, 1, Dim::from(start), Dim::from(count));
            (part(0, many)?, part(many, few)?, part(many + few, few)?)
        }
    };
    let past = match &past_key {
        Some(past) => past.size(2)?,
        None => 0,
    };
    let whole = match cx.optional(6) {
        Some(value) => cx.known(&value).and_then(|known| known.to_i64s().first().copied()),
        None => None,
    };
    let (whole, prompt) = match whole.map(usize::try_from) {
        Some(Ok(whole)) => (whole, whole == length),
        _ => (past + length, past == 0),
    };
    let room = past.max(whole);
    must_be(last.dtype() == Dtype::I32 && last.ty.elements() == Some(batch), "there is one int32 length per sequence", &last)?;
    let last = cx.reshape(&last, vec![Dim::from(batch)])?;
    // how many keys each sequence has before these queries
    let before = match prompt {
        true => cx.fill(Dtype::I64, 0.0, &[Dim::from(batch)])?,
        false => cx.pointwise(&format!("{{ t0 = cast.i64(a); sub(t0, {}:i64) }}", length as i64 - 1), Dtype::I32, &[&last])?,
    };
    let column = cx.reshape(&before, vec![Dim::from(batch), one()])?;
    let steps = cx.iota(&Dim::from(length), 1, 2)?;
    let places = cx.apply(ScalarOp::Add, &[&column, &steps])?;
    let (mut q, mut k) = (q, k);
    if cx.attrs.flag("do_rotary", false)? {
        let (Some(cos), Some(sin)) = (cos, sin) else { return Err(Fault::invalid("it turns without tables of angles")) };
        let interleaved = cx.attrs.flag("rotary_interleaved", false)?;
        let (cos, sin) = (attention::angles(cx, &cos, Some(&places))?, attention::angles(cx, &sin, Some(&places))?);
        let width = 2 * cos.size(2)?;
        for value in [&mut q, &mut k] {
            let rows = cx.transpose(value, &[0, 2, 1, 3])?;
            let turned = attention::rotate(cx, &rows, [&cos, &sin], width, interleaved)?;
            *value = cx.transpose(&turned, &[0, 2, 1, 3])?;
        }
    } else {
        cx.attrs.ignore(&["rotary_interleaved"]);
    }
    let mut caches = Vec::with_capacity(2);
    for (new, old) in [(&k, &past_key), (&v, &past_value)] {
        let shape = ir::dim::dims(&[batch, few, room, new.size(3)?]);
        let empty = match old {
            Some(old) if past > 0 && !prompt => {
                let mut high = vec![zero(); 4];
                high[2] = Dim::from(room - past);
                let fill = ir::scalar::Literal::number(new.dtype(), 0.0);
                let padded = cx.pad(old, vec![zero(); 4], high, ir::graph::op::PadMode::Constant, fill)?;
                let here = cx.iota(&Dim::from(room), 2, 4)?;
                let bound = cx.reshape(&before, ir::dim::dims(&[batch, 1, 1, 1]))?;
                let text = format!("{{ t0 = lt(a, b); select(t0, c, 0.0:{}) }}", new.dtype().name());
                cx.pointwise(&text, Dtype::I64, &[&here, &bound, &padded])?
            }
            _ => cx.fill(new.dtype(), 0.0, &shape)?,
        };
        must_be(empty.shape() == shape, "the past is [batch, heads, keys, numbers]", &empty)?;
        caches.push(match prompt && room == length {
            true => new.clone(),
            false => attention::cache_write(cx, &empty, new, 2, Some(&before), false)?,
        });
    }
    let window = cx.attrs.int_or("local_window_size", -1)?;
    let (here, own) = (cx.iota(&Dim::from(room), 3, 4)?, cx.reshape(&places, ir::dim::dims(&[batch, 1, length, 1]))?);
    let dtype = q.dtype();
    let text = match window {
        1.. => format!(
            "{{ t0 = le(a, b); t1 = sub(b, a); t2 = lt(t1, {window}); t3 = and(t0, t2); select(t3, 0.0:{0}, -inf:{0}) }}",
            dtype.name()
        ),
        _ => format!("{{ t0 = le(a, b); select(t0, 0.0:{0}, -inf:{0}) }}", dtype.name()),
    };
    let bias = cx.pointwise(&text, Dtype::I64, &[&here, &own])?;
    let scoring = scoring(cx, q.size(3)?, dtype)?;
    let made = attend(cx, [&q, &caches[0], &caches[1]], &scoring, Some(&bias), false)?;
    let result = join_heads(cx, &made.result)?;
    Ok(vec![result, caches.remove(0), caches.remove(0)])
}

/// A few of several networks for each row, the others weighted with zero.
pub fn experts(cx: &mut Cx) -> Made {
    let (x, router, first, first_bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3));
    let (second, second_bias) = (cx.input(4)?, cx.optional(5));
    if (6..cx.inputs.len()).any(|i| cx.optional(i).is_some()) {
        return Err(Fault::unsupported("experts with a third layer are not supported"));
    }
    let k = cx.attrs.int_or("k", 1)?;
    let normed = cx.attrs.flag("normalize_routing_weights", false)?;
    cx.attrs.ignore(&["use_sparse_mixer", "swiglu_fusion", "swiglu_limit", "activation_alpha", "activation_beta"]);
    let text = match cx.attrs.text("activation_type")?.unwrap_or("relu") {
        "relu" => "{ max(a, 0.0:T) }",
        "silu" => "{ t0 = sigmoid(a); mul(a, t0) }",
        "gelu" => "{ t0 = mul(a, 0.7071067811865476:T); t1 = erf(t0); t2 = add(t1, 1.0:T); t3 = mul(a, 0.5:T); mul(t3, t2) }",
        "identity" => "{ a }",
        other => return Err(Fault::unsupported(format!("the activation {other:?} is not supported"))),
    };
    let fits = first.rank() == 3 && second.rank() == 3 && router.rank() == 2 && x.rank() >= 2;
    must_be(fits, "experts are [experts, out, in]", &first)?;
    // by the number of elements: the second axis may say in or out
    let (count, width) = (first.size(0)?, x.size(x.rank() - 1)?);
    let inner = (first.size(1)? * first.size(2)?).checked_div(width).unwrap_or(0);
    let layers = |cx: &mut Cx, w: &Value, out: usize, inside: usize| -> Result<Value, Fault> {
        let w = cx.reshape(w, ir::dim::dims(&[count, out, inside]))?;
        cx.transpose(&w, &[0, 2, 1])
    };
    let (first, second) = (layers(cx, &first, inner, width)?, layers(cx, &second, width, inner)?);
    let rows = cx.reshape(&x, vec![one(), router.shape()[0].clone(), Dim::from(width)])?;
    let layer = |cx: &mut Cx, x: &Value, w: &Value, bias: Option<&Value>| -> Result<Value, Fault> {
        let made = cx.dot(x, w)?;
        let Some(bias) = bias else { return Ok(made) };
        let bias = cx.reshape(bias, vec![Dim::from(count), one(), w.shape()[2].clone()])?;
        cx.apply(ScalarOp::Add, &[&made, &bias])
    };
    let inner = layer(cx, &rows, &first, first_bias.as_ref())?;
    let inner = cx.pointwise(text, inner.dtype(), &[&inner])?;
    let made = layer(cx, &inner, &second, second_bias.as_ref())?;
    let shares = cx.add(Op::Softmax { axis: 1, log: false, prologue: Body::identity(), epilogue: Body::identity() }, &[&router])?;
    let order = cx.add(Op::Sort { axis: 1, descending: true }, &[&router])?;
    let rank = cx.add(Op::Sort { axis: 1, descending: false }, &[&order])?;
    let text = format!("{{ t0 = lt(a, {k}); select(t0, b, 0.0:{}) }}", shares.dtype().name());
    let mut gates = cx.pointwise(&text, Dtype::I64, &[&rank, &shares])?;
    if normed {
        let whole = cx.reduce(&gates, ReduceKind::Sum, &[1])?;
        gates = cx.apply(ScalarOp::Div, &[&gates, &whole])?;
    }
    let gates = cx.transpose(&gates, &[1, 0])?;
    let gates = cx.reshape(&gates, [gates.shape(), &[one()]].concat())?;
    let weighted = cx.apply(ScalarOp::Mul, &[&made, &gates])?;
    let total = cx.reduce(&weighted, ReduceKind::Sum, &[0])?;
    Ok(vec![cx.reshape(&total, x.shape().to_vec())?])
}

/// The inverse of the last two axes by elimination with the largest pivot; spelt out, so the matrix is small.
pub fn inverse(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 2 && x.dtype().is_float(), "it takes matrices of floats", &x)?;
    let n = x.size(axis(-1, x.rank())?)?;
    must_be(x.size(x.rank() - 2)? == n, "it takes square matrices", &x)?;
    const LARGEST: usize = 16;
    if n > LARGEST {
        return Err(Fault::unsupported(format!("inverses of more than {LARGEST} rows are not supported")));
    }
    let batch = ir::dim::product(&x.shape()[..x.rank() - 2]);
    let dtype = x.dtype();
    let square = vec![batch.clone(), Dim::from(n), Dim::from(n)];
    let left = cx.reshape(&x, square.clone())?;
    let (row, line) = (cx.iota(&Dim::from(n), 1, 3)?, cx.iota(&Dim::from(n), 2, 3)?);
    let unit = cx.apply(ScalarOp::Eq, &[&row, &line])?;
    let unit = cx.cast(&unit, dtype)?;
    let unit = cx.expand(&unit, &square)?;
    let mut both = cx.concat(&[&left, &unit], 2)?;
    for step in 0..n {
        let column = cx.part(&both, 2, Dim::from(step), one())?;
        let text = format!("{{ t0 = abs(a); t1 = lt(b, {step}:i64); select(t1, -1.0:T, t0) }}");
        let magnitude = cx.pointwise(&text, dtype, &[&column, &row])?;
        let best = cx.add(Op::ArgReduce { kind: ArgKind::Max, axis: 1, last: false }, &[&magnitude])?;
        let text = format!("{{ t0 = eq(a, b); t1 = eq(a, {step}); t2 = select(t0, {step}, a); select(t1, b, t2) }}");
        let places = cx.pointwise(&text, Dtype::I64, &[&row, &best])?;
        let places = cx.expand(&places, &[batch.clone(), Dim::from(n), Dim::from(2 * n)])?;
        both = index::elements(cx, &both, &places, 1)?;
        let lead = cx.part(&both, 1, Dim::from(step), one())?;
        let pivot = cx.part(&lead, 2, Dim::from(step), one())?;
        let lead = cx.apply(ScalarOp::Div, &[&lead, &pivot])?;
        let column = cx.part(&both, 2, Dim::from(step), one())?;
        let text = format!("{{ t0 = mul(b, c); t1 = sub(a, t0); t2 = eq(d, {step}:i64); select(t2, c, t1) }}");
        both = cx.pointwise(&text, dtype, &[&both, &column, &lead, &row])?;
    }
    let made = cx.part(&both, 2, Dim::from(n), Dim::from(n))?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}
