//! Attention and what belongs to it: rotary positions, caches that are written in place, gated units. Scores and
//! masks are spelt out as products, maps and a softmax; rules find the whole again.

use ir::graph::op::{ReduceKind, ScatterKind};
use ir::scalar::ScalarOp;
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, axis, must_be, one, zero};

/// `[batch, sequence, heads * size]` as `[batch, heads, sequence, size]`.
pub fn split_heads(cx: &mut Cx, x: &Value, heads: usize) -> Result<Value, Fault> {
    let width = x.size(2)?;
    let fits = heads > 0 && width.is_multiple_of(heads);
    must_be(fits, &format!("its last axis falls into {heads} heads"), x)?;
    let shape = vec![x.shape()[0].clone(), x.shape()[1].clone(), Dim::from(heads), Dim::from(width / heads)];
    let apart = cx.reshape(x, shape)?;
    cx.transpose(&apart, &[0, 2, 1, 3])
}

/// The way back.
pub fn join_heads(cx: &mut Cx, x: &Value) -> Result<Value, Fault> {
    let width = x.size(1)? * x.size(3)?;
    let turned = cx.transpose(x, &[0, 2, 1, 3])?;
    let shape = vec![x.shape()[0].clone(), x.shape()[2].clone(), Dim::from(width)];
    cx.reshape(&turned, shape)
}

/// What a block of queries is scored with.
pub struct Scoring {
    /// What queries and keys are both multiplied by; the root of the scale.
    pub root: f32,
    /// Absent, or the bound that scores approach.
    pub softcap: Option<f32>,
    /// The type of the softmax.
    pub precision: Dtype,
}

/// Scores at each stage, for those who ask, and the result `[batch, heads, sequence, size]`.
pub struct Attended {
    pub raw: Value,
    pub capped: Value,
    pub biased: Value,
    pub shares: Value,
    pub result: Value,
}

/// Queries `[b, h, s, d]`, keys `[b, g, t, d]`, values `[b, g, t, e]`, where `g` divides `h`. The bias is added
/// to scores `[b, h, s, t]`; with `guarded` a query whose bias is -inf throughout attends to nothing.
pub fn attend(cx: &mut Cx, qkv: [&Value; 3], scoring: &Scoring, bias: Option<&Value>, guarded: bool) -> Result<Attended, Fault> {
    let [q, k, v] = qkv;
    let dtype = q.dtype();
    let (heads, groups) = (q.size(1)?, k.size(1)?);
    let fits = groups > 0 && heads.is_multiple_of(groups) && v.size(1)? == groups;
    must_be(fits, &format!("its heads divide the {heads} heads of the queries"), k)?;
    let grouped = heads != groups;
    let scale = format!("{{ mul(a, {}:T) }}", number(f64::from(scoring.root)));
    let q_scaled = if scoring.root == 1.0 { q.clone() } else { cx.pointwise(&scale, dtype, &[q])? };
    let k_scaled = if scoring.root == 1.0 { k.clone() } else { cx.pointwise(&scale, dtype, &[k])? };
    let k_scaled = cx.transpose(&k_scaled, &[0, 1, 3, 2])?;
    let apart = |x: &Value, heads: usize, each: usize| {
        let mut shape = x.shape().to_vec();
        shape.splice(1..2, [Dim::from(heads), Dim::from(each)]);
        shape
    };
    let product = |cx: &mut Cx, a: &Value, b: &Value| -> Result<Value, Fault> {
        if !grouped {
            return cx.dot(a, b);
        }
        // each head of keys and values serves several of queries
        let a = cx.reshape(a, apart(a, groups, heads / groups))?;
        let b = cx.reshape(b, apart(b, groups, 1))?;
        let made = cx.dot(&a, &b)?;
        let mut shape = made.shape().to_vec();
        shape.splice(1..3, [Dim::from(heads)]);
        cx.reshape(&made, shape)
    };
    let raw = product(cx, &q_scaled, &k_scaled)?;
    let capped = match scoring.softcap {
        Some(cap) => {
            let cap = number(f64::from(cap));
            cx.pointwise(&format!("{{ t0 = div(a, {cap}:T); t1 = tanh(t0); mul(t1, {cap}:T) }}"), dtype, &[&raw])?
        }
        None => raw.clone(),
    };
    let biased = match bias {
        Some(bias) => cx.apply(ScalarOp::Add, &[&capped, bias])?,
        None => capped.clone(),
    };
    must_be(biased.shape() == capped.shape(), "the mask broadcasts to the scores", &biased)?;
    let precise = cx.cast(&biased, scoring.precision)?;
    let last = precise.rank() - 1;
    let mut shares = cx.add(Op::Softmax { axis: last, log: false, prologue: Body::identity(), epilogue: Body::identity() }, &[&precise])?;
    if let Some(bias) = bias.filter(|_| guarded) {
        let most = cx.reduce(bias, ReduceKind::Max, &[bias.rank() - 1])?;
        let text = format!("{{ t0 = eq(a, -inf:{}); select(t0, 0.0:T, b) }}", dtype.name());
        shares = cx.pointwise(&text, scoring.precision, &[&most, &shares])?;
    }
    let shares = cx.cast(&shares, dtype)?;
    let values = cx.cast(v, dtype)?;
    let result = product(cx, &shares, &values)?;
    Ok(Attended { raw, capped, biased, shares, result })
}

/// `1 / sqrt(size)`, as the standard computes it.
pub fn usual_scale(size: usize) -> f32 {
    1.0 / (size as f32).sqrt()
}

/// Places of queries and keys: `[.., s, 1]` and `[1, t]`. Query `i` stands at `i + offset`.
struct Places {
    query: Value,
    key: Value,
}

fn places(cx: &mut Cx, queries: &Dim, keys: &Dim, offset: &Value) -> Result<Places, Fault> {
    let rows = cx.iota(queries, 0, 2)?;
    let query = cx.apply(ScalarOp::Add, &[&rows, offset])?;
    Ok(Places { query, key: cx.iota(keys, 1, 2)? })
}

/// Adds a condition to those that a score has to meet.
fn also(cx: &mut Cx, allowed: &mut Option<Value>, condition: Value) -> Result<(), Fault> {
    *allowed = Some(match allowed.take() {
        Some(before) => cx.apply(ScalarOp::And, &[&before, &condition])?,
        None => condition,
    });
    Ok(())
}

/// The mask as something to add: `[.., s, t]`, filled up with what forbids.
fn additive(cx: &mut Cx, mask: &Value, keys: &Dim, dtype: Dtype) -> Result<Value, Fault> {
    must_be(mask.rank() > 0 && (mask.dtype() == Dtype::Bool || mask.dtype().is_float()), "the mask is of bools or floats", mask)?;
    let mask =
        if mask.dtype() == Dtype::Bool { cx.pointwise("{ select(a, 0.0:T, -inf:T) }", dtype, &[mask])? } else { cx.cast(mask, dtype)? };
    let last = mask.rank() - 1;
    let missing = keys.clone() - mask.shape()[last].clone();
    if missing.fixed().is_none_or(|n| n <= 0) || mask.shape()[last] == one() {
        return Ok(mask);
    }
    let mut high = vec![zero(); mask.rank()];
    high[last] = missing;
    let fill = ir::scalar::Literal::number(dtype, f64::NEG_INFINITY);
    cx.pad(&mask, vec![zero(); mask.rank()], high, ir::graph::op::PadMode::Constant, fill)
}

/// The attribute as heads. Fault: it is missing or no count.
pub fn heads(cx: &Cx, name: &str) -> Result<usize, Fault> {
    let given = cx.attrs.int(name)?.ok_or_else(|| Fault::invalid(format!("attribute {name:?} is missing")))?;
    match usize::try_from(given) {
        Ok(heads @ 1..0x1_0000_0000) => Ok(heads),
        _ => Err(Fault::invalid(format!("attribute {name:?} is {given}"))),
    }
}

fn window(cx: &Cx, name: &str) -> Result<Option<i64>, Fault> {
    match cx.attrs.int_or(name, -1)? {
        -1 => Ok(None),
        size @ 0.. => Ok(Some(size)),
        size => Err(Fault::invalid(format!("attribute {name:?} is {size}"))),
    }
}

pub fn attention(cx: &mut Cx) -> Made {
    let (mut q, mut k, mut v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (mask, past_key, past_value, filled) = (cx.optional(3), cx.optional(4), cx.optional(5), cx.optional(6));
    let (rank, dtype) = (q.rank(), q.dtype());
    must_be(dtype.is_float(), "it takes floats", &q)?;
    for value in [&q, &k, &v] {
        let fits = (rank == 3 || rank == 4) && value.rank() == rank;
        must_be(fits, "queries, keys and values have three axes, or four", value)?;
    }
    if rank == 3 {
        let (many, few) = (heads(cx, "q_num_heads")?, heads(cx, "kv_num_heads")?);
        (q, k, v) = (split_heads(cx, &q, many)?, split_heads(cx, &k, few)?, split_heads(cx, &v, few)?);
    } else {
        cx.attrs.ignore(&["q_num_heads", "kv_num_heads"]);
    }
    let scale = cx.attrs.float("scale")?.unwrap_or(usual_scale(q.size(3)?));
    let softcap = Some(cx.attrs.float_or("softcap", 0.0)?).filter(|cap| *cap > 0.0);
    let precision = match cx.attrs.int_or("softmax_precision", 0)? {
        0 => dtype,
        number => crate::tensors::dtype(i32::try_from(number).unwrap_or(0))?,
    };
    must_be(precision.is_float(), "the softmax is computed in floats", &q)?;
    let (left, right) = (window(cx, "left_window_size")?, window(cx, "right_window_size")?);
    let causal = cx.attrs.flag("is_causal", false)?;
    let mode = cx.attrs.int_or("qk_matmul_output_mode", 0)?;
    if past_key.is_some() != past_value.is_some() || (past_key.is_some() && filled.is_some()) {
        return Err(Fault::invalid("past keys and past values come together, and without a count of keys"));
    }
    let mut offset = cx.ints(&[0]);
    let mut late = false;
    if let (Some(past_key), Some(past_value)) = (&past_key, &past_value) {
        must_be(past_key.rank() == 4, "the past has four axes", past_key)?;
        let past = vec![past_key.shape()[2].clone()];
        k = cx.concat(&[past_key, &k], 2)?;
        v = cx.concat(&[past_value, &v], 2)?;
        offset = crate::symbolic::value(cx, past, 1);
    }
    let (queries, keys) = (q.shape()[2].clone(), k.shape()[2].clone());
    let mut allowed = None;
    if let Some(filled) = &filled {
        must_be(filled.dtype() == Dtype::I64 && filled.rank() == 1, "the count of keys is a list of int64", filled)?;
        late = true;
        let filled = cx.reshape(filled, vec![filled.shape()[0].clone(), one(), one(), one()])?;
        let here = cx.iota(&keys, 3, 4)?;
        let inside = cx.apply(ScalarOp::Lt, &[&here, &filled])?;
        also(cx, &mut allowed, inside)?;
        let queries = crate::symbolic::value(cx, vec![queries.clone()], 1);
        offset = cx.apply(ScalarOp::Sub, &[&filled, &queries])?;
    }
    if causal || left.is_some() || right.is_some() {
        let places = places(cx, &queries, &keys, &offset)?;
        if causal {
            let condition = cx.apply(ScalarOp::Le, &[&places.key, &places.query])?;
            also(cx, &mut allowed, condition)?;
        }
        for (size, text) in [(left, "{ t0 = sub(a, b); le(t0, SIZE) }"), (right, "{ t0 = sub(b, a); le(t0, SIZE) }")] {
            let Some(size) = size else { continue };
            let text = text.replace("SIZE", &size.to_string());
            let condition = cx.pointwise(&text, Dtype::I64, &[&places.query, &places.key])?;
            also(cx, &mut allowed, condition)?;
        }
    }
    // where a query always sees itself nothing is masked throughout
    let guarded = mask.is_some() || late || left.is_some() || right.is_some();
    let mut bias = match &mask {
        Some(mask) => Some(additive(cx, mask, &keys, dtype)?),
        None => None,
    };
    if let Some(allowed) = allowed {
        bias = Some(match bias {
            Some(bias) => cx.pointwise("{ t0 = select(a, 0.0:T, -inf:T); add(b, t0) }", dtype, &[&allowed, &bias])?,
            None => cx.pointwise("{ select(a, 0.0:T, -inf:T) }", dtype, &[&allowed])?,
        });
    }
    let scoring = Scoring { root: scale.sqrt(), softcap, precision };
    let made = attend(cx, [&q, &k, &v], &scoring, bias.as_ref(), guarded)?;
    let result = if rank == 3 { join_heads(cx, &made.result)? } else { made.result };
    let scores = match mode {
        0 => made.raw,
        1 => made.capped,
        2 => made.biased,
        3 => made.shares,
        mode => return Err(Fault::invalid(format!("attribute \"qk_matmul_output_mode\" is {mode}"))),
    };
    Ok(vec![result, k, v, scores])
}

/// The first `width` numbers of the last axis of `[b, s, h, d]` turned by the angles of `[b, s, width / 2]`.
pub fn rotate(cx: &mut Cx, x: &Value, angles: [&Value; 2], width: usize, interleaved: bool) -> Result<Value, Fault> {
    let (size, half) = (x.size(3)?, width / 2);
    must_be(width.is_multiple_of(2) && width <= size, &format!("{width} of its numbers are turned in pairs"), x)?;
    let mut lists = Vec::with_capacity(2);
    for list in angles {
        let fits = list.rank() == 3 && list.shape()[2] == Dim::from(half);
        must_be(fits, &format!("there are {half} angles for each place"), list)?;
        let shape = vec![list.shape()[0].clone(), list.shape()[1].clone(), one(), Dim::from(half)];
        lists.push(cx.reshape(list, shape)?);
    }
    let turned = cx.part(x, 3, zero(), Dim::from(width))?;
    let lead = x.shape()[..3].to_vec();
    let (first, second) = if interleaved {
        let pairs = cx.reshape(&turned, [&lead[..], &[Dim::from(half), Dim::from(2i64)]].concat())?;
        let side = |cx: &mut Cx, i: i64| {
            let part = cx.part(&pairs, 4, Dim::from(i), one())?;
            cx.reshape(&part, [&lead[..], &[Dim::from(half)]].concat())
        };
        (side(cx, 0)?, side(cx, 1)?)
    } else {
        (cx.part(&turned, 3, zero(), Dim::from(half))?, cx.part(&turned, 3, Dim::from(half), Dim::from(half))?)
    };
    let dtype = x.dtype();
    let [cos, sin] = [&lists[0], &lists[1]];
    let real = cx.pointwise("{ t0 = mul(c, a); t1 = mul(d, b); sub(t0, t1) }", dtype, &[&first, &second, cos, sin])?;
    let imaginary = cx.pointwise("{ t0 = mul(d, a); t1 = mul(c, b); add(t0, t1) }", dtype, &[&first, &second, cos, sin])?;
    must_be(real.shape() == first.shape(), "there are angles for each place", &real)?;
    let turned = if interleaved {
        let column = [&lead[..], &[Dim::from(half), one()]].concat();
        let (real, imaginary) = (cx.reshape(&real, column.clone())?, cx.reshape(&imaginary, column)?);
        let pairs = cx.concat(&[&real, &imaginary], 4)?;
        cx.reshape(&pairs, [&lead[..], &[Dim::from(width)]].concat())?
    } else {
        cx.concat(&[&real, &imaginary], 3)?
    };
    if width == size {
        return Ok(turned);
    }
    let rest = cx.part(x, 3, Dim::from(width), Dim::from(size - width))?;
    cx.concat(&[&turned, &rest], 3)
}

/// Rows of the tables of angles at the places, `[b, s, half]`.
pub fn angles(cx: &mut Cx, table: &Value, positions: Option<&Value>) -> Result<Value, Fault> {
    match positions {
        Some(positions) => {
            must_be(
                matches!(positions.dtype(), Dtype::I64 | Dtype::I32) && positions.rank() == 2,
                "places are [batch, sequence]",
                positions,
            )?;
            must_be(table.rank() == 2, "the table of angles has two axes", table)?;
            cx.gather(table, positions, 0)
        }
        None => Ok(table.clone()),
    }
}

/// `[b, s, h * d]` or `[b, h, s, d]` turned.
pub fn rotary_layout(cx: &mut Cx, x: &Value, count: i64, angles: [&Value; 2], width: i64, interleaved: bool) -> Result<Value, Fault> {
    must_be(x.rank() == 3 || x.rank() == 4, "it has three axes, or four", x)?;
    let rows = if x.rank() == 4 {
        cx.transpose(x, &[0, 2, 1, 3])?
    } else {
        let total = x.size(2)?;
        let given = usize::try_from(count).unwrap_or(0);
        let count = match (given, width) {
            (0, 1..) => total / (2 * angles[0].size(angles[0].rank() - 1)?).max(1),
            (0, _) => total / (2 * angles[0].size(angles[0].rank() - 1)?).max(1),
            (given, _) => given,
        };
        must_be(count > 0 && total.is_multiple_of(count), &format!("its last axis falls into {count} heads"), x)?;
        cx.reshape(x, vec![x.shape()[0].clone(), x.shape()[1].clone(), Dim::from(count), Dim::from(total / count)])?
    };
    let width = match usize::try_from(width) {
        Ok(0) | Err(_) => rows.size(3)?,
        Ok(width) => width,
    };
    let made = rotate(cx, &rows, angles, width, interleaved)?;
    if x.rank() == 4 { cx.transpose(&made, &[0, 2, 1, 3]) } else { cx.reshape(&made, x.shape().to_vec()) }
}

pub fn rotary_embedding(cx: &mut Cx) -> Made {
    let (x, cos, sin, positions) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3));
    let (cos, sin) = (angles(cx, &cos, positions.as_ref())?, angles(cx, &sin, positions.as_ref())?);
    let (count, width) = (cx.attrs.int_or("num_heads", 0)?, cx.attrs.int_or("rotary_embedding_dim", 0)?);
    let interleaved = cx.attrs.flag("interleaved", false)?;
    Ok(vec![rotary_layout(cx, &x, count, [&cos, &sin], width, interleaved)?])
}

/// A block put into a cache along one axis, from a place for each element of the batch on.
pub fn cache_write(cx: &mut Cx, cache: &Value, update: &Value, at: usize, starts: Option<&Value>, circular: bool) -> Result<Value, Fault> {
    let (sizes, given) = (cache.sizes()?, update.sizes()?);
    let fits =
        at > 0 && sizes.len() == given.len() && (0..sizes.len()).all(|i| if i == at { given[i] <= sizes[i] } else { given[i] == sizes[i] });
    must_be(fits, &format!("the update fits {} along axis {at}", cache.ty), update)?;
    let (prefix, batch): (usize, usize) = (sizes[..at].iter().product(), sizes[0]);
    let (length, count) = (sizes[at], given[at]);
    let lines = |n: usize| [vec![Dim::from(prefix * n)], ir::dim::dims(&sizes[at + 1..])].concat();
    let (rows, new) = (cx.reshape(cache, lines(length))?, cx.reshape(update, lines(count))?);
    let places = cx.iota(&Dim::from(count), 1, 2)?;
    let mut places = match starts {
        Some(starts) => {
            must_be(
                matches!(starts.dtype(), Dtype::I64 | Dtype::I32) && starts.ty.elements() == Some(batch),
                "there is one place per batch",
                starts,
            )?;
            let starts = cx.cast(starts, Dtype::I64)?;
            let starts = cx.reshape(&starts, vec![Dim::from(batch), one()])?;
            cx.apply(ScalarOp::Add, &[&starts, &places])?
        }
        None => cx.expand(&places, &[Dim::from(batch), Dim::from(count)])?,
    };
    if circular {
        places = cx.pointwise(&format!("{{ mod(a, {length}) }}"), Dtype::I64, &[&places])?;
    }
    // what is out of range stays so, and does not reach into the next line
    let each = prefix / batch.max(1);
    let places = cx.reshape(&places, vec![Dim::from(batch), one(), Dim::from(count)])?;
    let lines = cx.iota(&Dim::from(prefix), 0, 1)?;
    let lines = cx.reshape(&lines, vec![Dim::from(batch), Dim::from(each), one()])?;
    let text = format!(
        "{{ t0 = ge(a, 0); t1 = lt(a, {length}); t2 = and(t0, t1); t3 = mul(b, {length}); t4 = add(t3, a); select(t2, t4, {}) }}",
        prefix * length
    );
    let places = cx.pointwise(&text, Dtype::I64, &[&places, &lines])?;
    let places = cx.reshape(&places, vec![Dim::from(prefix * count)])?;
    let made = cx.add(Op::Scatter { kind: ScatterKind::Set }, &[&rows, &places, &new])?;
    cx.reshape(&made, cache.shape().to_vec())
}

pub fn tensor_scatter(cx: &mut Cx) -> Made {
    let (cache, update, starts) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let at = axis(cx.attrs.int_or("axis", -2)?, cache.rank())?;
    let circular = cx.attrs.choice("mode", false, &[("linear", false), ("circular", true)])?;
    Ok(vec![cache_write(cx, &cache, &update, at, starts.as_ref(), circular)?])
}

pub fn swiglu(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    must_be(a.ty == b.ty, &format!("the second operand is {}", a.ty), &b)?;
    let alpha = number(f64::from(cx.attrs.float_or("alpha", 1.0)?));
    let text = format!("{{ t0 = mul(a, {alpha}:T); t1 = sigmoid(t0); t2 = mul(a, t1); mul(t2, b) }}");
    Ok(vec![cx.pointwise(&text, a.dtype(), &[&a, &b])?])
}

/// Attention whose scores and shares a graph may change.
pub fn flex_attention(cx: &mut Cx) -> Made {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    for value in [&q, &k, &v] {
        must_be(value.rank() == 4 && value.dtype().is_float(), "it takes [batch, heads, sequence, numbers]", value)?;
    }
    let (dtype, many, few) = (q.dtype(), q.size(1)?, k.size(1)?);
    must_be(few > 0 && many.is_multiple_of(few) && v.size(1)? == few, &format!("its heads divide {many}"), &k)?;
    let scale = cx.attrs.float("scale")?.unwrap_or(usual_scale(q.size(3)?));
    let precision = match cx.attrs.int_or("softmax_precision", 0)? {
        0 if dtype == Dtype::F64 => dtype,
        0 => Dtype::F32,
        number => crate::tensors::dtype(i32::try_from(number).unwrap_or(0))?,
    };
    must_be(precision.is_float(), "the softmax is computed in floats", &q)?;
    let text = format!("{{ mul(a, {}:T) }}", number(f64::from(scale.sqrt())));
    let (q, k) = (cx.pointwise(&text, dtype, &[&q])?, cx.pointwise(&text, dtype, &[&k])?);
    let repeated = |cx: &mut Cx, x: &Value| -> Result<Value, Fault> {
        let shape = |each: usize| {
            let mut shape = x.shape().to_vec();
            shape.splice(1..2, [Dim::from(few), Dim::from(each)]);
            shape
        };
        let apart = cx.reshape(x, shape(1))?;
        let apart = cx.expand(&apart, &shape(many / few))?;
        let mut whole = x.shape().to_vec();
        whole[1] = Dim::from(many);
        cx.reshape(&apart, whole)
    };
    let (k, v) = (repeated(cx, &k)?, repeated(cx, &v)?);
    let k = cx.transpose(&k, &[0, 1, 3, 2])?;
    let scores = cx.dot(&q, &k)?;
    let scores = cx.cast(&scores, precision)?;
    let Some(scores) = changed(cx, "score_mod", scores)? else { return Ok(Vec::new()) };
    let shares = cx.add(Op::Softmax { axis: 3, log: false, prologue: Body::identity(), epilogue: Body::identity() }, &[&scores])?;
    let Some(shares) = changed(cx, "prob_mod", shares)? else { return Ok(Vec::new()) };
    let values = cx.cast(&v, precision)?;
    let made = cx.dot(&shares, &values)?;
    Ok(vec![cx.cast(&made, v.dtype())?])
}

/// `value` through the graph of that name, if there is one; nothing when the graph has failed and told why.
fn changed(cx: &mut Cx, name: &str, value: Value) -> Result<Option<Value>, Fault> {
    let Some(graph) = cx.attrs.graph(name)? else { return Ok(Some(value)) };
    let scope = cx.scope;
    let made = cx.importer.inline(graph, scope, std::slice::from_ref(&value))?;
    match made.as_slice() {
        [] => Ok(None),
        [one] => {
            must_be(one.shape() == value.shape(), &format!("{name} keeps the shape {}", value.ty), one)?;
            cx.cast(one, value.dtype()).map(Some)
        }
        _ => Err(Fault::invalid(format!("{name} has {} results, and may have one", made.len()))),
    }
}
