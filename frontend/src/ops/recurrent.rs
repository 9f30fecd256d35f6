//! Recurrent layers, one step after the other: the inputs' share of all gates is one product over all steps, each
//! step adds the state's share. Also the linear forms of attention, and convolutions that carry their border.

use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, must_be, one, zero};
use crate::ops::attention;

/// Steps that one layer is written out for.
const STEPS: usize = 2048;

/// What one direction of a layer is made of.
struct Layer {
    /// Scalar bodies of the gates' functions, in the order of the standard.
    functions: Vec<String>,
    /// `[input, gates]` and `[hidden, gates]`.
    w: Value,
    r: Value,
    /// Of inputs and of the state, `[gates]` each.
    biases: Option<[Value; 2]>,
    peepholes: Option<Value>,
    h: Value,
    c: Option<Value>,
    backward: bool,
}

/// The body of a function by its ONNX name over `a`.
fn function(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Result<String, Fault> {
    let a = |default: f32| number(f64::from(alpha.unwrap_or(default)));
    let b = |default: f32| number(f64::from(beta.unwrap_or(default)));
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => "{ max(a, 0.0:T) }".into(),
        "tanh" => "{ tanh(a) }".into(),
        "sigmoid" => "{ sigmoid(a) }".into(),
        "affine" => format!("{{ t0 = mul(a, {}:T); add(t0, {}:T) }}", a(1.0), b(0.0)),
        "leakyrelu" => format!("{{ t0 = mul(a, {}:T); t1 = lt(a, 0.0:T); select(t1, t0, a) }}", a(0.01)),
        "thresholdedrelu" => format!("{{ t0 = ge(a, {}:T); select(t0, a, 0.0:T) }}", a(1.0)),
        "scaledtanh" => format!("{{ t0 = mul(a, {}:T); t1 = tanh(t0); mul(t1, {}:T) }}", b(1.0), a(1.0)),
        "hardsigmoid" => format!("{{ t0 = mul(a, {}:T); t1 = add(t0, {}:T); t2 = max(t1, 0.0:T); min(t2, 1.0:T) }}", a(0.2), b(0.5)),
        "elu" => format!("{{ t0 = exp(a); t1 = sub(t0, 1.0:T); t2 = mul(t1, {}:T); t3 = lt(a, 0.0:T); select(t3, t2, a) }}", a(1.0)),
        "softsign" => "{ t0 = abs(a); t1 = add(t0, 1.0:T); div(a, t1) }".into(),
        "softplus" => {
            "{ t0 = abs(a); t1 = neg(t0); t2 = exp(t1); t3 = add(t2, 1.0:T); t4 = log(t3); t5 = max(a, 0.0:T); add(t4, t5) }".into()
        }
        _ => return Err(Fault::invalid(format!("there is no activation {name:?}"))),
    })
}

/// The new state and cell from a layer, the inputs' share of a step, the old state and the old cell.
type Step<'s> = dyn Fn(&mut Cx, &Layer, &Value, &Value, Option<&Value>) -> Result<(Value, Option<Value>), Fault> + 's;

/// A recurrent layer as its node describes it.
struct Recurrent {
    x: Value,
    layers: Vec<Layer>,
    /// Which steps of which sequences there are: `[batch, 1]`, where sequences differ in length.
    lengths: Option<Value>,
    hidden: usize,
    steps: usize,
    batch: usize,
    clip: Option<f32>,
    /// The batch stands first.
    turned: bool,
}

impl Recurrent {
    fn new(cx: &mut Cx, gates: usize, usual: &[&str], state: usize) -> Result<Recurrent, Fault> {
        let (x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let turned = cx.attrs.flag("layout", false)?;
        must_be(x.rank() == 3 && x.dtype().is_float(), "inputs are [steps, batch, numbers]", &x)?;
        let directions =
            cx.attrs.choice("direction", (1, false), &[("forward", (1, false)), ("reverse", (1, true)), ("bidirectional", (2, false))])?;
        cx.attrs.ignore(&["output_sequence"]);
        let x = if turned { cx.transpose(&x, &[1, 0, 2])? } else { x };
        let (steps, batch, width) = (x.size(0)?, x.size(1)?, x.size(2)?);
        must_be(r.rank() == 3, "the state's weights have three axes", &r)?;
        let hidden = r.size(2)?;
        let (count, backward) = directions;
        let fits = |value: &Value, shape: &[usize]| value.ty == ir::Type::of(x.dtype(), shape);
        must_be(fits(&w, &[count, gates * hidden, width]), &format!("the inputs' weights fit {gates} gates of {hidden} numbers"), &w)?;
        must_be(fits(&r, &[count, gates * hidden, hidden]), &format!("the state's weights fit {gates} gates of {hidden} numbers"), &r)?;
        if cx.attrs.int("hidden_size")?.is_some_and(|n| n != hidden as i64) {
            return Err(Fault::invalid(format!("hidden_size is not {hidden}, as the weights are")));
        }
        if steps.saturating_mul(count) > STEPS {
            let text = format!("a layer of {steps} steps is not supported; {} are", STEPS / count);
            return Err(Fault::unsupported(text));
        }
        let functions = functions(cx, usual, count)?;
        let lengths = match cx.optional(4) {
            Some(list) => {
                must_be(
                    list.rank() == 1 && list.size(0)? == batch && list.dtype() == Dtype::I32,
                    "there is one int32 length per sequence",
                    &list,
                )?;
                let whole = cx.known(&list).is_some_and(|list| list.to_i64s().iter().all(|&n| n == steps as i64));
                if whole { None } else { Some(cx.reshape(&list, vec![Dim::from(batch), one()])?) }
            }
            None => None,
        };
        let mut layers = Vec::with_capacity(count);
        let one_of = |cx: &mut Cx, value: &Value, i: usize| {
            let part = cx.part(value, 0, Dim::from(i), one())?;
            cx.reshape(&part, value.shape()[1..].to_vec())
        };
        for (i, functions) in functions.into_iter().enumerate() {
            let own = |cx: &mut Cx, value: &Value| {
                let part = one_of(cx, value, i)?;
                cx.transpose(&part, &[1, 0])
            };
            let (w, r) = (own(cx, &w)?, own(cx, &r)?);
            let biases = match cx.optional(3) {
                Some(b) => {
                    must_be(fits(&b, &[count, 2 * gates * hidden]), &format!("there are two biases for {gates} gates"), &b)?;
                    let b = one_of(cx, &b, i)?;
                    let half = Dim::from(gates * hidden);
                    Some([cx.part(&b, 0, zero(), half.clone())?, cx.part(&b, 0, half.clone(), half)?])
                }
                None => None,
            };
            let start = |cx: &mut Cx, index: usize| match cx.optional(index) {
                Some(value) => {
                    let value = if turned { cx.transpose(&value, &[1, 0, 2])? } else { value };
                    must_be(fits(&value, &[count, batch, hidden]), "the initial state is [directions, batch, hidden]", &value)?;
                    one_of(cx, &value, i)
                }
                None => cx.fill(x.dtype(), 0.0, &ir::dim::dims(&[batch, hidden])),
            };
            let h = start(cx, 5)?;
            let (c, peepholes) = if state < 2 {
                (None, None)
            } else {
                let peepholes = match cx.optional(7) {
                    Some(p) => {
                        must_be(fits(&p, &[count, 3 * hidden]), "there are three peepholes", &p)?;
                        Some(one_of(cx, &p, i)?)
                    }
                    None => None,
                };
                (Some(start(cx, 6)?), peepholes)
            };
            layers.push(Layer { functions, w, r, biases, peepholes, h, c, backward: backward || i == 1 });
        }
        let clip = cx.attrs.float("clip")?.filter(|clip| *clip > 0.0);
        Ok(Recurrent { x, layers, lengths, hidden, steps, batch, clip, turned })
    }

    /// What a function is applied to, held within the bound.
    fn clipped(&self, cx: &mut Cx, value: Value) -> Result<Value, Fault> {
        let Some(clip) = self.clip else { return Ok(value) };
        let clip = number(f64::from(clip));
        cx.pointwise(&format!("{{ t0 = max(a, -{clip}:T); min(t0, {clip}:T) }}"), value.dtype(), &[&value])
    }

    fn apply(&self, cx: &mut Cx, body: &str, value: Value) -> Result<Value, Fault> {
        let value = self.clipped(cx, value)?;
        cx.pointwise(body, value.dtype(), &[&value])
    }

    /// Gate `i` of `[batch, gates * hidden]`.
    fn gate(&self, cx: &mut Cx, gates: &Value, i: usize) -> Result<Value, Fault> {
        cx.part(gates, gates.rank() - 1, Dim::from(i * self.hidden), Dim::from(self.hidden))
    }

    /// The inputs' share of all steps, with a bias, as `[steps, batch, gates]`.
    fn inputs(&self, cx: &mut Cx, layer: &Layer, bias: Option<&Value>) -> Result<Value, Fault> {
        let width = self.x.size(2)?;
        let lines = cx.reshape(&self.x, ir::dim::dims(&[self.steps * self.batch, width]))?;
        let mut made = cx.dot(&lines, &layer.w)?;
        if let Some(bias) = bias {
            made = cx.apply(ScalarOp::Add, &[&made, bias])?;
        }
        let gates = layer.w.size(1)?;
        cx.reshape(&made, ir::dim::dims(&[self.steps, self.batch, gates]))
    }

    /// Runs every layer. `step` gives the new state from the inputs' share and the old state.
    fn run(&self, cx: &mut Cx, joined: bool, step: &Step) -> Made {
        let (mut columns, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
        for layer in &self.layers {
            let bias = match &layer.biases {
                Some([of_input, of_state]) if joined => Some(cx.apply(ScalarOp::Add, &[of_input, of_state])?),
                Some([of_input, _]) => Some(of_input.clone()),
                None => None,
            };
            let shares = self.inputs(cx, layer, bias.as_ref())?;
            let (mut h, mut c) = (layer.h.clone(), layer.c.clone());
            cx.importer.turns(self.steps)?;
            let mut shown = vec![None; self.steps];
            for i in 0..self.steps {
                cx.importer.turn()?;
                let t = if layer.backward { self.steps - 1 - i } else { i };
                let share = cx.part(&shares, 0, Dim::from(t), one())?;
                let share = cx.reshape(&share, shares.shape()[1..].to_vec())?;
                let (mut new_h, mut new_c) = step(cx, layer, &share, &h, c.as_ref())?;
                let mut seen = new_h.clone();
                if let Some(lengths) = &self.lengths {
                    let text = format!("{{ t0 = gt(a, {t}:i32); select(t0, b, c) }}");
                    let dtype = h.dtype();
                    new_h = cx.pointwise(&text, dtype, &[lengths, &new_h, &h])?;
                    new_c = match (new_c, &c) {
                        (Some(new), Some(old)) => Some(cx.pointwise(&text, dtype, &[lengths, &new, old])?),
                        (new, _) => new,
                    };
                    let text = format!("{{ t0 = gt(a, {t}:i32); select(t0, b, 0.0:T) }}");
                    seen = cx.pointwise(&text, dtype, &[lengths, &seen])?;
                }
                let row = ir::dim::dims(&[1, 1, self.batch, self.hidden]);
                shown[t] = Some(cx.reshape(&seen, row)?);
                (h, c) = (new_h, new_c);
            }
            let steps: Vec<Value> = shown.into_iter().flatten().collect();
            columns.push(match steps.is_empty() {
                true => cx.fill(self.x.dtype(), 0.0, &ir::dim::dims(&[0, 1, self.batch, self.hidden]))?,
                false => cx.concat(&steps.iter().collect::<Vec<_>>(), 0)?,
            });
            let whole = ir::dim::dims(&[1, self.batch, self.hidden]);
            last_h.push(cx.reshape(&h, whole.clone())?);
            if let Some(c) = &c {
                last_c.push(cx.reshape(c, whole)?);
            }
        }
        let mut made = vec![cx.concat(&columns.iter().collect::<Vec<_>>(), 1)?];
        for last in [last_h, last_c].iter().filter(|last| !last.is_empty()) {
            made.push(cx.concat(&last.iter().collect::<Vec<_>>(), 0)?);
        }
        if self.turned {
            made[0] = cx.transpose(&made[0], &[2, 0, 1, 3])?;
            for last in &mut made[1..] {
                *last = cx.transpose(last, &[1, 0, 2])?;
            }
        }
        Ok(made)
    }
}

/// The functions of each direction.
fn functions(cx: &Cx, usual: &[&str], directions: usize) -> Result<Vec<Vec<String>>, Fault> {
    let names: Vec<String> = match cx.attrs.texts("activations")? {
        Some(names) => names,
        None => (0..directions).flat_map(|_| usual.iter().map(|s| s.to_string())).collect(),
    };
    if names.len() != usual.len() * directions {
        return Err(Fault::invalid(format!("attribute \"activations\" is {names:?}; {} are needed", usual.len() * directions)));
    }
    // each list holds numbers for those functions that take one, in order
    let (alphas, betas) = (cx.attrs.floats("activation_alpha")?.unwrap_or(&[]), cx.attrs.floats("activation_beta")?.unwrap_or(&[]));
    let (mut alphas, mut betas) = (alphas.iter(), betas.iter());
    let mut out = Vec::with_capacity(names.len());
    for name in &names {
        let (takes_alpha, takes_beta) = match name.to_ascii_lowercase().as_str() {
            "affine" | "scaledtanh" | "hardsigmoid" => (true, true),
            "leakyrelu" | "thresholdedrelu" | "elu" => (true, false),
            _ => (false, false),
        };
        let alpha = if takes_alpha { alphas.next().copied() } else { None };
        let beta = if takes_beta { betas.next().copied() } else { None };
        out.push(function(name, alpha, beta)?);
    }
    Ok(out.chunks(usual.len()).map(<[String]>::to_vec).collect())
}

pub fn rnn(cx: &mut Cx) -> Made {
    let all = Recurrent::new(cx, 1, &["Tanh"], 1)?;
    all.run(cx, true, &|cx, layer, share, h, _| {
        let own = cx.dot(h, &layer.r)?;
        let sum = cx.apply(ScalarOp::Add, &[&own, share])?;
        Ok((all.apply(cx, &layer.functions[0], sum)?, None))
    })
}

/// Gates in the order update, reset, hidden.
pub fn gru(cx: &mut Cx) -> Made {
    let late = cx.attrs.flag("linear_before_reset", false)?;
    let all = Recurrent::new(cx, 3, &["Sigmoid", "Tanh"], 1)?;
    let hidden = all.hidden;
    all.run(cx, false, &|cx, layer, share, h, _| {
        let (two, single) = (Dim::from(2 * hidden), Dim::from(hidden));
        let (r_gates, r_hidden) = (cx.part(&layer.r, 1, zero(), two.clone())?, cx.part(&layer.r, 1, two.clone(), single.clone())?);
        let of_share = (cx.part(share, 1, zero(), two.clone())?, cx.part(share, 1, two.clone(), single.clone())?);
        let of_bias = match &layer.biases {
            Some([_, b]) => Some((cx.part(b, 0, zero(), two.clone())?, cx.part(b, 0, two, single)?)),
            None => None,
        };
        let own = cx.dot(h, &r_gates)?;
        let mut gates = cx.apply(ScalarOp::Add, &[&own, &of_share.0])?;
        if let Some((bias, _)) = &of_bias {
            gates = cx.apply(ScalarOp::Add, &[&gates, bias])?;
        }
        let gates = all.apply(cx, &layer.functions[0], gates)?;
        let (z, r) = (all.gate(cx, &gates, 0)?, all.gate(cx, &gates, 1)?);
        let sum = if late {
            let mut own = cx.dot(h, &r_hidden)?;
            if let Some((_, bias)) = &of_bias {
                own = cx.apply(ScalarOp::Add, &[&own, bias])?;
            }
            cx.pointwise("{ t0 = mul(a, b); add(t0, c) }", h.dtype(), &[&r, &own, &of_share.1])?
        } else {
            let reset = cx.apply(ScalarOp::Mul, &[&r, h])?;
            let own = cx.dot(&reset, &r_hidden)?;
            let sum = cx.apply(ScalarOp::Add, &[&own, &of_share.1])?;
            match &of_bias {
                Some((_, bias)) => cx.apply(ScalarOp::Add, &[&sum, bias])?,
                None => sum,
            }
        };
        let new = all.apply(cx, &layer.functions[1], sum)?;
        let text = "{ t0 = sub(1.0:T, a); t1 = mul(t0, b); t2 = mul(a, c); add(t1, t2) }";
        Ok((cx.pointwise(text, h.dtype(), &[&z, &new, h])?, None))
    })
}

/// Gates in the order input, output, forget, cell.
pub fn lstm(cx: &mut Cx) -> Made {
    let coupled = cx.attrs.flag("input_forget", false)?;
    let all = Recurrent::new(cx, 4, &["Sigmoid", "Tanh", "Tanh"], 2)?;
    all.run(cx, true, &|cx, layer, share, h, c| {
        let c = c.expect("it has a cell");
        let own = cx.dot(h, &layer.r)?;
        let gates = cx.apply(ScalarOp::Add, &[&own, share])?;
        let peep = |cx: &mut Cx, i: usize, gate: Value, cell: &Value| match &layer.peepholes {
            Some(p) => {
                let p = all.gate(cx, p, i)?;
                cx.pointwise("{ t0 = mul(b, c); add(a, t0) }", gate.dtype(), &[&gate, &p, cell])
            }
            None => Ok(gate),
        };
        let [f, g, last] = [&layer.functions[0], &layer.functions[1], &layer.functions[2]];
        let i = all.gate(cx, &gates, 0)?;
        let i = peep(cx, 0, i, c)?;
        let i = all.apply(cx, f, i)?;
        let forget = if coupled {
            cx.pointwise("{ sub(1.0:T, a) }", i.dtype(), &[&i])?
        } else {
            let forget = all.gate(cx, &gates, 2)?;
            let forget = peep(cx, 2, forget, c)?;
            all.apply(cx, f, forget)?
        };
        let new = all.gate(cx, &gates, 3)?;
        let new = all.apply(cx, g, new)?;
        let cell = cx.pointwise("{ t0 = mul(a, b); t1 = mul(c, d); add(t0, t1) }", c.dtype(), &[&forget, c, &i, &new])?;
        let o = all.gate(cx, &gates, 1)?;
        let o = peep(cx, 1, o, &cell)?;
        let o = all.apply(cx, f, o)?;
        let shown = all.apply(cx, last, cell.clone())?;
        Ok((cx.apply(ScalarOp::Mul, &[&o, &shown])?, Some(cell)))
    })
}

/// Attention whose state is a matrix per head, updated by every token.
pub fn linear_attention(cx: &mut Cx) -> Made {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (past, decay, beta) = (cx.optional(3), cx.optional(4), cx.optional(5));
    cx.attrs.ignore(&["chunk_size"]);
    let words = [("linear", (false, false)), ("gated", (true, false)), ("delta", (false, true)), ("gated_delta", (true, true))];
    let (gated, delta) = cx.attrs.choice("update_rule", (true, true), &words)?;
    if gated != decay.is_some() || delta != beta.is_some() {
        return Err(Fault::invalid("decay belongs to gated rules, beta to those with delta"));
    }
    let (many, few) = (attention::heads(cx, "q_num_heads")?, attention::heads(cx, "kv_num_heads")?);
    must_be(many.is_multiple_of(few), &format!("{few} heads divide {many}"), &q)?;
    for value in [&q, &k, &v] {
        must_be(
            value.rank() == 3 && value.dtype().is_float() && value.shape()[..2] == q.shape()[..2],
            "it takes [batch, steps, numbers]",
            value,
        )?;
    }
    let (batch, steps) = (q.size(0)?, q.size(1)?);
    if steps > STEPS {
        return Err(Fault::unsupported(format!("{steps} steps are not supported; {STEPS} are")));
    }
    let split = |cx: &mut Cx, x: &Value, heads: usize| {
        let apart = attention::split_heads(cx, x, heads)?;
        cx.cast(&apart, Dtype::F32)
    };
    let (q4, k4, v4) = (split(cx, &q, many)?, split(cx, &k, few)?, split(cx, &v, few)?);
    let (size, width) = (k4.size(3)?, v4.size(3)?);
    must_be(q4.size(3)? == size, "queries and keys have the same size", &q)?;
    let per_head = |cx: &mut Cx, list: Option<&Value>, what: &str| -> Result<Option<Value>, Fault> {
        let Some(list) = list else { return Ok(None) };
        must_be(list.rank() == 3 && list.shape()[..2] == q.shape()[..2], &format!("{what} is [batch, steps, heads]"), list)?;
        let last = list.size(2)?;
        let heads = if last == 1 { 1 } else { few };
        split(cx, list, heads).map(Some)
    };
    let (decay, beta) = (per_head(cx, decay.as_ref(), "decay")?, per_head(cx, beta.as_ref(), "beta")?);
    let scale = Some(cx.attrs.float_or("scale", 0.0)?).filter(|s| *s != 0.0).unwrap_or(attention::usual_scale(size));
    let state_type = past.as_ref().map_or(q.dtype(), Value::dtype);
    let shape = ir::dim::dims(&[batch, few, size, width]);
    let mut state = match &past {
        Some(past) => {
            must_be(past.shape() == shape && past.dtype().is_float(), &format!("the state is [{batch}, {few}, {size}, {width}]"), past)?;
            cx.cast(past, Dtype::F32)?
        }
        None => cx.fill(Dtype::F32, 0.0, &shape)?,
    };
    cx.importer.turns(steps)?;
    let mut shown = Vec::with_capacity(steps);
    for t in 0..steps {
        cx.importer.turn()?;
        let at = |cx: &mut Cx, x: &Value| cx.part(x, 2, Dim::from(t), one());
        let (query, key, mut value) = (at(cx, &q4)?, at(cx, &k4)?, at(cx, &v4)?);
        let column = cx.transpose(&key, &[0, 1, 3, 2])?;
        if let Some(decay) = &decay {
            let decay = at(cx, decay)?;
            let decay = cx.transpose(&decay, &[0, 1, 3, 2])?;
            state = cx.pointwise("{ t0 = exp(b); mul(a, t0) }", Dtype::F32, &[&state, &decay])?;
        }
        if let Some(beta) = &beta {
            let known = cx.dot(&key, &state)?;
            let beta = at(cx, beta)?;
            value = cx.pointwise("{ t0 = sub(a, b); mul(t0, c) }", Dtype::F32, &[&value, &known, &beta])?;
        }
        state = cx.pointwise("{ t0 = mul(b, c); add(a, t0) }", Dtype::F32, &[&state, &column, &value])?;
        // the heads of queries that share a state are rows of one product
        let rows = cx.reshape(&query, ir::dim::dims(&[batch, few, many / few, size]))?;
        shown.push(cx.dot(&rows, &state)?);
    }
    let to = q.dtype();
    let mut rows = Vec::with_capacity(steps);
    for row in &shown {
        rows.push(cx.reshape(row, ir::dim::dims(&[batch, 1, many * width]))?);
    }
    let made = match rows.is_empty() {
        true => cx.fill(to, 0.0, &ir::dim::dims(&[batch, 0, many * width]))?,
        false => cx.concat(&rows.iter().collect::<Vec<_>>(), 1)?,
    };
    let made = cx.pointwise(&format!("{{ mul(a, {}:T) }}", number(f64::from(scale))), made.dtype(), &[&made])?;
    Ok(vec![cx.cast(&made, to)?, cx.cast(&state, state_type)?])
}

/// A depthwise convolution over the past; the border is a state.
pub fn causal_conv(cx: &mut Cx) -> Made {
    let (x, w, bias, past) = (cx.input(0)?, cx.input(1)?, cx.optional(2), cx.optional(3));
    must_be(x.rank() == 3 && w.rank() == 3, "it takes [batch, channels, length]", &x)?;
    let (channels, size) = (x.size(1)?, w.size(2)?);
    must_be(
        size > 0 && w.ty == ir::Type::of(x.dtype(), &[channels, 1, size]),
        &format!("there is one kernel for each of {channels} channels"),
        &w,
    )?;
    let silu = cx.attrs.choice("activation", false, &[("none", false), ("silu", true), ("swish", true)])?;
    let border = vec![x.shape()[0].clone(), Dim::from(channels), Dim::from(size - 1)];
    let padded = match &past {
        Some(past) => {
            must_be(past.shape() == border && past.dtype() == x.dtype(), "the state fits the kernel", past)?;
            cx.concat(&[past, &x], 2)?
        }
        None => {
            let none = cx.fill(x.dtype(), 0.0, &border)?;
            cx.concat(&[&none, &x], 2)?
        }
    };
    let start = padded.shape()[2].clone() - Dim::from(size - 1);
    let present = cx.part(&padded, 2, start, Dim::from(size - 1))?;
    let (last, kernel) = (cx.channels_last(&padded)?, cx.transpose(&w, &[2, 1, 0])?);
    let op = Op::Conv {
        stride: vec![1],
        dilation: vec![1],
        inflate: vec![1],
        low: vec![0],
        high: vec![0],
        group: channels,
        fill: Literal::number(last.dtype(), 0.0),
        epilogue: Body::identity(),
    };
    let mut made = cx.add(op, &[&last, &kernel])?;
    if let Some(bias) = bias {
        must_be(bias.rank() == 1 && bias.shape()[0] == Dim::from(channels), "there is one bias per channel", &bias)?;
        made = cx.apply(ScalarOp::Add, &[&made, &bias])?;
    }
    if silu {
        let wide = cx.cast(&made, if x.dtype() == Dtype::F64 { Dtype::F64 } else { Dtype::F32 })?;
        let shaped = cx.pointwise("{ t0 = sigmoid(a); mul(a, t0) }", wide.dtype(), &[&wide])?;
        made = cx.cast(&shaped, x.dtype())?;
    }
    Ok(vec![cx.channels_first(&made)?, present])
}
