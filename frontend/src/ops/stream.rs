//! Operators on streams of tokens that hand a state on: attention whose state is a matrix per head, and convolutions that carry
//! their border.

use ir::graph::op::Rows;
use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, must_be, one};
use crate::ops::attention;
use crate::ops::recurrent::FEW;
use crate::turns::Turns;

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
    let token = |cx: &mut Cx, parts: &[Option<Value>], mut state: Value| {
        let [Some(query), Some(key), Some(value), decay, beta] = parts else { unreachable!("three of them are always there") };
        let mut value = value.clone();
        let column = cx.transpose(key, &[0, 1, 3, 2])?;
        if let Some(decay) = decay {
            let decay = cx.transpose(decay, &[0, 1, 3, 2])?;
            state = cx.pointwise("{ t0 = exp(b); mul(a, t0) }", Dtype::F32, &[&state, &decay])?;
        }
        if let Some(beta) = beta {
            let known = cx.dot(key, &state)?;
            value = cx.pointwise("{ t0 = sub(a, b); mul(t0, c) }", Dtype::F32, &[&value, &known, beta])?;
        }
        state = cx.pointwise("{ t0 = mul(b, c); add(a, t0) }", Dtype::F32, &[&state, &column, &value])?;
        // the heads of queries that share a state are rows of one product
        let rows = cx.reshape(query, ir::dim::dims(&[batch, few, many / few, size]))?;
        let shown = cx.dot(&rows, &state)?;
        Ok::<_, Fault>((cx.reshape(&shown, ir::dim::dims(&[batch, many * width]))?, state))
    };
    let all = [Some(q4), Some(k4), Some(v4), decay, beta];
    let to = q.dtype();
    let rows = if steps > FEW {
        cx.importer.turn()?;
        let mut turns = Turns::new(Dim::from(steps));
        let inside = cx.carry(&mut turns, &state)?;
        let mut parts = Vec::with_capacity(all.len());
        for part in &all {
            parts.push(match part {
                Some(part) => {
                    let first = cx.transpose(part, &[2, 0, 1, 3])?;
                    let row = cx.row(&mut turns, &first, Rows::Forward)?;
                    let shape = [&part.shape()[..2], &[one()], &part.shape()[3..]].concat();
                    Some(cx.reshape(&row, shape)?)
                }
                None => None,
            });
        }
        let (shown, next) = token(cx, &parts, inside)?;
        let mut made = cx.turn(turns, &[next], &[(shown, Rows::Forward)])?;
        let rows = made.pop().expect("a scan gives its stacks");
        state = made.pop().expect("a scan gives what it carries");
        rows
    } else {
        let mut rows = Vec::with_capacity(steps);
        for t in 0..steps {
            cx.importer.turn()?;
            let mut parts = Vec::with_capacity(all.len());
            for part in &all {
                parts.push(part.as_ref().map(|part| cx.part(part, 2, Dim::from(t), one())).transpose()?);
            }
            let (shown, next) = token(cx, &parts, state)?;
            state = next;
            rows.push(cx.reshape(&shown, ir::dim::dims(&[1, batch, many * width]))?);
        }
        match rows.is_empty() {
            true => cx.fill(Dtype::F32, 0.0, &ir::dim::dims(&[0, batch, many * width]))?,
            false => cx.concat(&rows.iter().collect::<Vec<_>>(), 0)?,
        }
    };
    let made = cx.transpose(&rows, &[1, 0, 2])?;
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
