//! Recurrent layers, one step after the other: the inputs' share of all gates is one product over all steps, each
//! step adds the state's share. A few steps are written out, more of them are the turns of a scan.

use ir::graph::op::Rows;
use ir::scalar::{Literal, ScalarOp};
use ir::{Dim, Dtype, Fault};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, must_be, one, zero};
use crate::turns::Turns;

/// Steps that are written out: so few fuse with what is around them.
pub const FEW: usize = 4;

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
    steps: Dim,
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
        let (steps, batch, width) = (x.shape()[0].clone(), x.size(1)?, x.size(2)?);
        if steps.fixed().is_none() && steps.as_symbol().is_none() {
            x.size(0)?;
        }
        must_be(r.rank() == 3, "the state's weights have three axes", &r)?;
        let hidden = r.size(2)?;
        let (count, backward) = directions;
        let fits = |value: &Value, shape: &[usize]| value.ty == ir::Type::of(x.dtype(), shape);
        must_be(fits(&w, &[count, gates * hidden, width]), &format!("the inputs' weights fit {gates} gates of {hidden} numbers"), &w)?;
        must_be(fits(&r, &[count, gates * hidden, hidden]), &format!("the state's weights fit {gates} gates of {hidden} numbers"), &r)?;
        if cx.attrs.int("hidden_size")?.is_some_and(|n| n != hidden as i64) {
            return Err(Fault::invalid(format!("hidden_size is not {hidden}, as the weights are")));
        }
        let functions = functions(cx, usual, count)?;
        let lengths = match cx.optional(4) {
            Some(list) => {
                must_be(
                    list.rank() == 1 && list.size(0)? == batch && list.dtype() == Dtype::I32,
                    "there is one int32 length per sequence",
                    &list,
                )?;
                let whole = cx.known(&list).is_some_and(|list| list.to_i64s().iter().all(|&n| Some(n) == steps.fixed()));
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
        let gates = layer.w.size(1)?;
        // lines of several sequences of an open length are not one matrix
        let whole = self.steps.fixed().is_some() || self.batch == 1;
        let lines = match whole {
            true => {
                let count = self.steps.clone() * Dim::from(self.batch);
                cx.reshape(&self.x, vec![count, self.x.shape()[2].clone()])?
            }
            false => self.x.clone(),
        };
        let mut made = cx.dot(&lines, &layer.w)?;
        if let Some(bias) = bias {
            made = cx.apply(ScalarOp::Add, &[&made, bias])?;
        }
        cx.reshape(&made, vec![self.steps.clone(), Dim::from(self.batch), Dim::from(gates)])
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
            let few = self.steps.fixed().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= FEW);
            let (column, h, c) = match few {
                Some(steps) => self.written_out(cx, layer, &shares, steps, step)?,
                None => self.in_turns(cx, layer, &shares, step)?,
            };
            columns.push(cx.reshape(&column, vec![self.steps.clone(), one(), Dim::from(self.batch), Dim::from(self.hidden)])?);
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

    /// One step of a layer: the new state, and what of it is shown. Sequences that are over keep their state and show zeros;
    /// `at` is the number of the step.
    fn masked(&self, cx: &mut Cx, layer: &Layer, share: &Value, at: &Value, state: (&Value, Option<&Value>), step: &Step) -> Stepped {
        let (h, c) = state;
        let (mut new_h, mut new_c) = step(cx, layer, share, h, c)?;
        let mut seen = new_h.clone();
        if let Some(lengths) = &self.lengths {
            let (goes_on, dtype) = ("{ t0 = gt(a, d); select(t0, b, c) }", h.dtype());
            new_h = cx.pointwise(goes_on, dtype, &[lengths, &new_h, h, at])?;
            new_c = match (new_c, c) {
                (Some(new), Some(old)) => Some(cx.pointwise(goes_on, dtype, &[lengths, &new, old, at])?),
                (new, _) => new,
            };
            seen = cx.pointwise("{ t0 = gt(a, c); select(t0, b, 0.0:T) }", dtype, &[lengths, &seen, at])?;
        }
        Ok((seen, new_h, new_c))
    }

    /// Every step by itself.
    fn written_out(&self, cx: &mut Cx, layer: &Layer, shares: &Value, steps: usize, step: &Step) -> Stepped {
        let (mut h, mut c) = (layer.h.clone(), layer.c.clone());
        let mut shown = vec![None; steps];
        for i in 0..steps {
            cx.importer.turn()?;
            let t = if layer.backward { steps - 1 - i } else { i };
            let share = cx.part(shares, 0, Dim::from(t), one())?;
            let share = cx.reshape(&share, shares.shape()[1..].to_vec())?;
            let at = cx.scalar(Literal::int(Dtype::I32, t as i64));
            let (seen, new_h, new_c) = self.masked(cx, layer, &share, &at, (&h, c.as_ref()), step)?;
            shown[t] = Some(cx.reshape(&seen, ir::dim::dims(&[1, self.batch, self.hidden]))?);
            (h, c) = (new_h, new_c);
        }
        let rows: Vec<Value> = shown.into_iter().flatten().collect();
        let column = match rows.is_empty() {
            true => cx.fill(self.x.dtype(), 0.0, &ir::dim::dims(&[0, self.batch, self.hidden]))?,
            false => cx.concat(&rows.iter().collect::<Vec<_>>(), 0)?,
        };
        Ok((column, h, c))
    }

    /// The steps as turns of a scan.
    fn in_turns(&self, cx: &mut Cx, layer: &Layer, shares: &Value, step: &Step) -> Stepped {
        cx.importer.turn()?;
        let order = if layer.backward { Rows::Backward } else { Rows::Forward };
        let numbers = cx.iota(&self.steps, 0, 1)?;
        let numbers = cx.cast(&numbers, Dtype::I32)?;
        let mut turns = Turns::new(self.steps.clone());
        let h = cx.carry(&mut turns, &layer.h)?;
        let c = match &layer.c {
            Some(c) => Some(cx.carry(&mut turns, c)?),
            None => None,
        };
        let share = cx.row(&mut turns, shares, order)?;
        let at = match self.lengths {
            Some(_) => cx.row(&mut turns, &numbers, order)?,
            None => numbers,
        };
        let (seen, new_h, new_c) = self.masked(cx, layer, &share, &at, (&h, c.as_ref()), step)?;
        let next: Vec<Value> = std::iter::once(new_h).chain(new_c).collect();
        let mut made = cx.turn(turns, &next, &[(seen, order)])?;
        let column = made.pop().expect("a scan gives its stacks");
        let mut state = made.into_iter();
        let h = state.next().expect("a scan gives what it carries");
        Ok((column, h, state.next()))
    }
}

/// What is shown, and the state and the cell behind it.
type Stepped = Result<(Value, Value, Option<Value>), Fault>;

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
            Some([_, b]) => Some((cx.part(b, 0, zero(), two.clone())?, cx.part(b, 0, two.clone(), single)?)),
            None => None,
        };
        let (z, sum) = if late {
            // one product for all three gates, and one map of its parts
            let mut own = cx.dot(h, &layer.r)?;
            if let Some([_, bias]) = &layer.biases {
                own = cx.apply(ScalarOp::Add, &[&own, bias])?;
            }
            let gate = |cx: &mut Cx, i: usize| {
                let (own, share) = (all.gate(cx, &own, i)?, all.gate(cx, share, i)?);
                let sum = cx.apply(ScalarOp::Add, &[&own, &share])?;
                all.apply(cx, &layer.functions[0], sum)
            };
            let (z, r) = (gate(cx, 0)?, gate(cx, 1)?);
            let own = all.gate(cx, &own, 2)?;
            (z, cx.pointwise("{ t0 = mul(a, b); add(t0, c) }", h.dtype(), &[&r, &own, &of_share.1])?)
        } else {
            let own = cx.dot(h, &r_gates)?;
            let mut gates = cx.apply(ScalarOp::Add, &[&own, &of_share.0])?;
            if let Some((bias, _)) = &of_bias {
                gates = cx.apply(ScalarOp::Add, &[&gates, bias])?;
            }
            let gates = all.apply(cx, &layer.functions[0], gates)?;
            let (z, r) = (all.gate(cx, &gates, 0)?, all.gate(cx, &gates, 1)?);
            let reset = cx.apply(ScalarOp::Mul, &[&r, h])?;
            let own = cx.dot(&reset, &r_hidden)?;
            let sum = cx.apply(ScalarOp::Add, &[&own, &of_share.1])?;
            let sum = match &of_bias {
                Some((_, bias)) => cx.apply(ScalarOp::Add, &[&sum, bias])?,
                None => sum,
            };
            (z, sum)
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
