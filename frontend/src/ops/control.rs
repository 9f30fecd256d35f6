//! Control flow. A branch that is known is taken, otherwise both are computed and one is picked; loops are
//! unrolled, turn by turn, within the budget of nodes.

use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one};

fn is_condition(value: &Value) -> Result<(), Fault> {
    must_be(value.dtype() == Dtype::Bool, "the condition is a bool", value)?;
    must_be(value.ty.elements() == Some(1), "the condition is one bool", value)
}

/// One bool, if it is known.
fn holds(cx: &mut Cx, condition: &Value) -> Option<bool> {
    cx.known(condition).map(|known| known.to_i64s()[0] != 0)
}

/// `a` where the condition holds, else `b`. Fault: they differ in type.
fn either(cx: &mut Cx, condition: &Value, a: &Value, b: &Value) -> Result<Value, Fault> {
    if a.ty != b.ty || a.items.is_some() || b.items.is_some() {
        let text = format!("a value is {} or {}, depending on data, which is not supported", a.ty, b.ty);
        return Err(Fault::unsupported(text));
    }
    let condition = cx.reshape(condition, Vec::new())?;
    cx.apply(ScalarOp::Select, &[&condition, a, b])
}

pub fn branch(cx: &mut Cx) -> Made {
    let condition = cx.input(0)?;
    is_condition(&condition)?;
    let (yes, no) = (cx.attrs.graph("then_branch")?, cx.attrs.graph("else_branch")?);
    let (Some(yes), Some(no)) = (yes, no) else {
        let missing = if yes.is_none() { "then_branch" } else { "else_branch" };
        return Err(Fault::invalid(format!("attribute {missing:?} is missing")));
    };
    if yes.output.len() != no.output.len() || yes.output.len() < cx.wanted.len() {
        return Err(Fault::invalid(format!(
            "its branches have {} and {} outputs, and it has {}",
            yes.output.len(),
            no.output.len(),
            cx.wanted.len()
        )));
    }
    let scope = cx.scope;
    if let Some(holds) = holds(cx, &condition) {
        return cx.importer.inline(if holds { yes } else { no }, scope, &[]);
    }
    let (before, told) = (cx.fallible, cx.importer.told());
    let (yes, no) = (cx.importer.inline(yes, scope, &[])?, cx.importer.inline(no, scope, &[])?);
    // a branch for other sizes than these does not matter once it is known that it is not taken
    if let Some(help) = cx.must_be_known(&condition, "the condition").help {
        cx.importer.advise(told, &format!("it is in a branch that is chosen when the model runs: {help}"));
    }
    if cx.fallible > before {
        // an index that is out of range where the branch is not taken is no mistake
        return Err(cx.must_be_known(&condition, "the condition of branches that read at indices"));
    }
    // a branch that failed has told why
    yes.iter().zip(&no).map(|(a, b)| either(cx, &condition, a, b)).collect()
}

/// What a turn leaves for a result that grows, joined along `at`.
fn stacked(cx: &mut Cx, parts: &[Value], at: i64) -> Result<Value, Fault> {
    let Some(first) = parts.first() else {
        return Err(Fault::unsupported("a loop that never runs has no elements to stack"));
    };
    if parts.iter().any(|part| part.items.is_some()) {
        return Err(Fault::unsupported("a loop does not stack sequences"));
    }
    let at = axis(at, first.rank() + 1)?;
    let mut rows = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = part.shape().to_vec();
        shape.insert(at, one());
        rows.push(cx.reshape(part, shape)?);
    }
    cx.concat(&rows.iter().collect::<Vec<_>>(), at)
}

/// Turns that a loop may have at most when their number is only known at run time: each is unrolled, and computed always.
const MOST: i64 = 256;

/// The number of turns where it is known, else the most there can be, and the number as it will be.
fn count(cx: &mut Cx) -> Result<(Option<i64>, Option<Value>), Fault> {
    let Some(given) = cx.optional(0) else { return Ok((None, None)) };
    must_be(
        matches!(given.dtype(), Dtype::I64 | Dtype::I32) && given.ty.elements() == Some(1),
        "the count of turns is one integer",
        &given,
    )?;
    if given.dims.is_some() || cx.known(&given).is_some() {
        return Ok((cx.int_input(0)?, None));
    }
    match cx.interval(&given).filter(|(_, most)| *most <= MOST) {
        Some((_, most)) => {
            let count = cx.reshape(&given, Vec::new())?;
            Ok((Some(most), Some(cx.cast(&count, Dtype::I64)?)))
        }
        None => {
            let mut fault = cx.must_be_known(&given, "input 0");
            fault.what += &format!("; or it must be bounded, as Min or Clip do, by at most {MOST}");
            Err(fault)
        }
    }
}

/// A condition or a count that is only known at run time freezes what is carried; results that grow need a known count.
pub fn repeat(cx: &mut Cx) -> Made {
    let Some(body) = cx.attrs.graph("body")? else { return Err(Fault::invalid("attribute \"body\" is missing")) };
    let (most, count) = count(cx)?;
    let mut going = cx.optional(1);
    let mut state: Vec<Value> = (2..cx.inputs.len()).map(|i| cx.input(i)).collect::<Result<_, _>>()?;
    let carried = state.len();
    let Some(grown) = body.output.len().checked_sub(carried + 1) else {
        return Err(Fault::invalid(format!("its body has {} outputs, and carries {carried} values and a condition", body.output.len())));
    };
    let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); grown];
    let mut turn = 0;
    let mut frozen: Option<Value> = None;
    if let Some(count) = &count
        && grown > 0
    {
        return Err(cx.must_be_known(count, "the count of turns of a loop with results that grow"));
    }
    while most.is_none_or(|most| turn < most) {
        if let Some(condition) = &going {
            is_condition(condition)?;
            match holds(cx, condition) {
                Some(true) => {}
                Some(false) => break,
                None if most.is_none() => return Err(cx.must_be_known(condition, "the condition of a loop without a count of turns")),
                None if grown > 0 => return Err(cx.must_be_known(condition, "the condition of a loop with results that grow")),
                None => {
                    let condition = cx.reshape(condition, Vec::new())?;
                    frozen = Some(match frozen {
                        Some(before) => cx.apply(ScalarOp::And, &[&before, &condition])?,
                        None => condition,
                    });
                }
            }
        }
        cx.importer.turn()?;
        let number = cx.scalar(ir::scalar::Literal::int(Dtype::I64, turn));
        if let Some(count) = &count {
            let more = cx.apply(ScalarOp::Lt, &[&number, count])?;
            frozen = Some(match frozen {
                Some(before) => cx.apply(ScalarOp::And, &[&before, &more])?,
                None => more,
            });
        }
        let condition = match &going {
            Some(condition) => condition.clone(),
            None => cx.scalar(ir::scalar::Literal::bool(true)),
        };
        let inputs: Vec<Value> = [number, condition].into_iter().chain(state.iter().cloned()).collect();
        let (scope, before) = (cx.scope, cx.fallible);
        let made = cx.importer.inline(body, scope, &inputs)?;
        if made.is_empty() {
            return Ok(Vec::new());
        }
        if let (Some(frozen), true) = (&frozen, cx.fallible > before) {
            // an index that is out of range in a turn that is not taken is no mistake
            return Err(cx.must_be_known(frozen, "when a loop ends that reads at indices"));
        }
        going = if body.input.get(1).is_some() { Some(made[0].clone()) } else { None };
        for (old, new) in state.iter_mut().zip(&made[1..]) {
            *old = match &frozen {
                Some(going) => either(cx, going, new, old)?,
                None => new.clone(),
            };
        }
        for (stack, part) in stacks.iter_mut().zip(&made[1 + carried..]) {
            stack.push(part.clone());
        }
        turn += 1;
    }
    for stack in &stacks {
        state.push(stacked(cx, stack, 0)?);
    }
    Ok(state)
}

/// One turn per element along the scanned axes.
pub fn scan(cx: &mut Cx) -> Made {
    let Some(body) = cx.attrs.graph("body")? else { return Err(Fault::invalid("attribute \"body\" is missing")) };
    // the first version has a batch, and lengths that nobody exports
    let batched = cx.version < 9;
    let first = usize::from(batched);
    if batched && cx.optional(0).is_some() {
        return Err(Fault::unsupported("a scan of sequences of several lengths is not supported"));
    }
    let given = cx.inputs.len().saturating_sub(first);
    let scanned = cx.attrs.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=given).contains(n));
    let Some(scanned) = scanned else { return Err(Fault::invalid("attribute \"num_scan_inputs\" is missing or more than there are")) };
    let carried = given - scanned;
    let values: Vec<Value> = (first..first + given).map(|i| cx.input(i)).collect::<Result<_, _>>()?;
    let Some(grown) = body.output.len().checked_sub(carried) else {
        return Err(Fault::invalid(format!("its body has {} outputs, and carries {carried} values", body.output.len())));
    };
    let list = |name: &str, count: usize| -> Result<Vec<i64>, Fault> {
        let list = cx.attrs.ints(name)?.map_or_else(|| vec![0; count], <[i64]>::to_vec);
        if list.len() == count { Ok(list) } else { Err(Fault::invalid(format!("attribute {name:?} is {list:?}, for {count} values"))) }
    };
    let (in_axes, backward) = match batched {
        true => (vec![0; scanned], list("directions", scanned)?),
        false => (list("scan_input_axes", scanned)?, list("scan_input_directions", scanned)?),
    };
    let (out_axes, turned) = (list("scan_output_axes", grown)?, list("scan_output_directions", grown)?);
    if batched {
        let batch = values[0].size(0)?;
        let mut results: Vec<Vec<Value>> = vec![Vec::new(); body.output.len()];
        for i in 0..batch {
            cx.importer.turn()?;
            let mut own = Vec::with_capacity(values.len());
            for value in &values {
                let row = cx.part(value, 0, Dim::from(i), one())?;
                own.push(cx.reshape(&row, value.shape()[1..].to_vec())?);
            }
            let made = turns(cx, body, &own, carried, [&in_axes, &backward, &out_axes, &turned])?;
            results.iter_mut().zip(made).for_each(|(all, one)| all.push(one));
        }
        return results.iter().map(|rows| stacked(cx, rows, 0)).collect();
    }
    turns(cx, body, &values, carried, [&in_axes, &backward, &out_axes, &turned])
}

fn turns<'m>(cx: &mut Cx<'_, 'm, '_>, body: &'m crate::proto::Graph, values: &[Value], carried: usize, lists: [&[i64]; 4]) -> Made {
    let [in_axes, backward, out_axes, turned] = lists;
    let mut state = values[..carried].to_vec();
    let mut axes = Vec::with_capacity(in_axes.len());
    let mut count = None;
    for (value, &at) in values[carried..].iter().zip(in_axes) {
        let at = axis(at, value.rank())?;
        let extent = value.size(at)?;
        must_be(count.is_none_or(|n| n == extent), "what is scanned has as many elements as the others", value)?;
        (count, _) = (Some(extent), axes.push(at));
    }
    let count = count.unwrap_or(0);
    let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); body.output.len() - carried];
    for turn in 0..count {
        cx.importer.turn()?;
        let mut inputs = state.clone();
        for ((value, &at), &backward) in values[carried..].iter().zip(&axes).zip(backward) {
            let place = if backward != 0 { count - 1 - turn } else { turn };
            let row = cx.part(value, at, Dim::from(place), one())?;
            let mut shape = value.shape().to_vec();
            shape.remove(at);
            inputs.push(cx.reshape(&row, shape)?);
        }
        let scope = cx.scope;
        let made = cx.importer.inline(body, scope, &inputs)?;
        if made.is_empty() {
            return Ok(Vec::new());
        }
        state = made[..carried].to_vec();
        stacks.iter_mut().zip(&made[carried..]).for_each(|(stack, part)| stack.push(part.clone()));
    }
    for ((stack, &at), &turned) in stacks.iter_mut().zip(out_axes).zip(turned) {
        if turned != 0 {
            stack.reverse();
        }
        state.push(stacked(cx, stack, at)?);
    }
    Ok(state)
}
