//! Control flow. A branch that is known is taken, otherwise both are computed and one is picked. Loops whose turns are alike are
//! scans of as many turns as there are, or may be; others, and those of a few turns, are unrolled, turn by turn, within the
//! budget of nodes.

use ir::graph::op::Rows;
use ir::scalar::{Literal, ScalarOp};
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one};
use crate::proto;
use crate::turns::Turns;

/// Turns that are written out: so few fuse with what is around them.
const FEW: i64 = 4;
/// Turns whose numbers are a table; further ones are counted.
const NUMBERED: i64 = 1 << 16;
/// Turns that a program counts.
const COUNTED: i64 = 1 << 31;

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

/// The value where the condition is as `wanted`; where it is not, the run ends with the status for bad data: there is no second row.
fn only_if(cx: &mut Cx, condition: &Value, wanted: bool, value: &Value) -> Result<Value, Fault> {
    let condition = cx.reshape(condition, Vec::new())?;
    let number = cx.cast(&condition, Dtype::I64)?;
    let row = if wanted { cx.pointwise("{ sub(1, a) }", Dtype::I64, &[&number])? } else { number };
    let rows = cx.reshape(value, [&[one()], value.shape()].concat())?;
    cx.gather(&rows, &row, 0)
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
    let yes = cx.importer.inline(yes, scope, &[])?;
    let between = cx.importer.told();
    let misfit = cx.importer.misfits(told);
    let no = cx.importer.inline(no, scope, &[])?;
    // what is computed only for other sizes than these is not taken, or a status
    let at_fault = match (misfit, between < cx.importer.told()) {
        (true, false) => Some((told, no.clone(), false)),
        (false, true) if between == told && cx.importer.misfits(between) => Some((between, yes.clone(), true)),
        _ => None,
    };
    if let Some((first, values, wanted)) = at_fault
        && !values.is_empty()
        && cx.fallible == before
        && values.iter().all(|value| value.items.is_none())
    {
        cx.importer.untell(first);
        let unfit = if wanted { "else_branch" } else { "then_branch" };
        cx.importer.note(&format!("its {unfit} is for other sizes than these: a run that takes it ends with status 4"));
        return values.iter().map(|value| only_if(cx, &condition, wanted, value)).collect();
    }
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

/// Turns that a loop may have at most when their number is only known at run time: all are computed always.
const MOST: i64 = 1 << 16;
/// The same where each is unrolled.
const UNROLLED: i64 = 256;

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

/// What becomes of one turn's outputs: whether it goes on, the values for the next turn, the rows that are stacked.
struct Turned {
    goes_on: Option<Value>,
    next: Vec<Value>,
    rows: Vec<Value>,
}

/// A loop as a scan: a turn is written down once. `None` where turns are not alike: what is carried changes its type, the body
/// needs to know more than it does in every turn, or ends by itself.
fn alike<'a, 'm, 'o>(
    cx: &mut Cx<'a, 'm, 'o>,
    turns: Turns,
    state: &[Value],
    write: impl FnOnce(&mut Cx<'a, 'm, 'o>) -> Result<Turned, Fault>,
    orders: &[Rows],
) -> Result<Option<Vec<Value>>, Fault> {
    let told = cx.importer.told();
    let made = write(cx);
    let fits = |made: &Turned| {
        let tensors = made.next.iter().chain(&made.rows).all(|value| value.items.is_none());
        let alike = made.next.len() == state.len() && made.next.iter().zip(state).all(|(new, old)| new.ty == old.ty);
        tensors && alike && made.rows.len() == orders.len()
    };
    let going = |cx: &mut Cx, made: &Turned| {
        made.goes_on.as_ref().is_none_or(|value| value.ty.elements() == Some(1) && holds(cx, value) == Some(true))
    };
    match made {
        Ok(made) if cx.importer.told() == told && fits(&made) && going(cx, &made) => {
            let rows: Vec<(Value, Rows)> = made.rows.into_iter().zip(orders.iter().copied()).collect();
            cx.turn(turns, &made.next, &rows).map(Some)
        }
        Ok(_) | Err(_) => {
            cx.importer.untell(told);
            cx.give_up(turns);
            Ok(None)
        }
    }
}

/// Where a loop ends before all its turns are made: what is carried stays then as it is.
struct Ending<'v> {
    /// Turns that count, where data says.
    count: Option<&'v Value>,
    /// Whether the first one does.
    going: Option<&'v Value>,
}

/// `Loop` as a scan of so many turns.
fn repeat_alike<'a, 'm, 'o>(
    cx: &mut Cx<'a, 'm, 'o>,
    body: &'m proto::Graph,
    turns: i64,
    state: &[Value],
    ending: Option<Ending>,
) -> Result<Option<Vec<Value>>, Fault> {
    if !(FEW + 1..COUNTED).contains(&turns) || state.iter().any(|value| value.items.is_some()) || body.output.len() <= state.len() {
        return Ok(None);
    }
    cx.importer.turn()?;
    let mut all = Turns::new(Dim::from(turns));
    let mut carried = state.to_vec();
    let mut inside = Vec::with_capacity(state.len());
    for value in state {
        inside.push(cx.carry(&mut all, value)?);
    }
    let counted = turns > NUMBERED;
    let number = if counted {
        let first = cx.scalar(Literal::int(Dtype::I64, 0));
        carried.push(first.clone());
        cx.carry(&mut all, &first)?
    } else {
        let numbers = cx.iota(&Dim::from(turns), 0, 1)?;
        cx.row(&mut all, &numbers, Rows::Forward)?
    };
    let condition = cx.scalar(Literal::bool(true));
    // whether this turn counts, but for the number of turns
    let alive = match &ending {
        Some(ending) => {
            let first = match ending.going {
                Some(going) => cx.reshape(going, Vec::new())?,
                None => condition.clone(),
            };
            carried.push(first.clone());
            Some(cx.carry(&mut all, &first)?)
        }
        None => None,
    };
    let inputs: Vec<Value> = [number.clone(), condition].into_iter().chain(inside.iter().cloned()).collect();
    let (count, before) = (state.len(), cx.fallible);
    let write = |cx: &mut Cx<'a, 'm, 'o>| {
        let scope = cx.scope;
        let mut made = cx.importer.inline(body, scope, &inputs)?.into_iter();
        let mut goes_on = made.next().filter(|_| body.input.get(1).is_some());
        let mut next: Vec<Value> = made.by_ref().take(count).collect();
        let mut still = None;
        if let (Some(ending), Some(alive)) = (&ending, &alive) {
            if cx.fallible > before {
                // an index that is out of range in a turn that is not taken is no mistake
                return Err(Fault::unsupported("it reads at indices"));
            }
            let counts = match ending.count {
                Some(count) => {
                    let more = cx.apply(ScalarOp::Lt, &[&number, count])?;
                    cx.apply(ScalarOp::And, &[alive, &more])?
                }
                None => alive.clone(),
            };
            for (new, old) in next.iter_mut().zip(&inside) {
                *new = either(cx, &counts, new, old)?;
            }
            still = Some(match goes_on.take() {
                Some(condition) => {
                    is_condition(&condition)?;
                    let condition = cx.reshape(&condition, Vec::new())?;
                    cx.apply(ScalarOp::And, &[&counts, &condition])?
                }
                None => counts,
            });
        }
        if counted {
            let step = cx.scalar(Literal::int(Dtype::I64, 1));
            next.push(cx.apply(ScalarOp::Add, &[&number, &step])?);
        }
        next.extend(still);
        Ok(Turned { goes_on, next, rows: made.collect() })
    };
    let orders = vec![Rows::Forward; body.output.len() - 1 - count];
    let mut made = alike(cx, all, &carried, write, &orders)?;
    if let Some(made) = &mut made {
        // the number of the turn and whether it counts are nobody's results
        made.drain(count..carried.len());
    }
    Ok(made)
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
    let always = match &going {
        Some(condition) => holds(cx, condition) == Some(true),
        None => true,
    };
    let unknown = count.is_some() || going.as_ref().is_some_and(|condition| holds(cx, condition).is_none());
    let ending = unknown.then_some(Ending { count: count.as_ref(), going: going.as_ref() });
    if let Some(turns) = most.filter(|turns| always || (unknown && grown == 0 && *turns <= MOST))
        && let Some(made) = repeat_alike(cx, body, turns, &state, ending)?
    {
        return Ok(made);
    }
    if let (Some(count), true) = (&count, most.is_some_and(|most| most > UNROLLED)) {
        return Err(cx.must_be_known(count, "the count of turns of a loop whose turns are not alike"));
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
    if let Some(made) = scan_alike(cx, body, values, carried, &axes, lists)? {
        return Ok(made);
    }
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

/// `Scan` as a scan, where its turns are alike.
fn scan_alike<'a, 'm, 'o>(
    cx: &mut Cx<'a, 'm, 'o>,
    body: &'m proto::Graph,
    values: &[Value],
    carried: usize,
    axes: &[usize],
    lists: [&[i64]; 4],
) -> Result<Option<Vec<Value>>, Fault> {
    let [_, backward, out_axes, turned] = lists;
    let order = |backward: &i64| if *backward != 0 { Rows::Backward } else { Rows::Forward };
    let turns = values[carried].shape()[axes[0]].clone();
    let few = turns.fixed().is_none_or(|n| !(FEW + 1..COUNTED).contains(&n));
    if few || values.iter().any(|value| value.items.is_some()) {
        return Ok(None);
    }
    cx.importer.turn()?;
    let mut all = Turns::new(turns);
    let mut inside = Vec::with_capacity(values.len());
    for value in &values[..carried] {
        inside.push(cx.carry(&mut all, value)?);
    }
    for ((value, &at), backward) in values[carried..].iter().zip(axes).zip(backward) {
        let perm: Vec<usize> = std::iter::once(at).chain((0..value.rank()).filter(|&i| i != at)).collect();
        let rows = cx.transpose(value, &perm)?;
        inside.push(cx.row(&mut all, &rows, order(backward))?);
    }
    let write = |cx: &mut Cx<'a, 'm, 'o>| {
        let scope = cx.scope;
        let mut made = cx.importer.inline(body, scope, &inside)?.into_iter();
        Ok(Turned { goes_on: None, next: made.by_ref().take(carried).collect(), rows: made.collect() })
    };
    let orders: Vec<Rows> = turned.iter().map(order).collect();
    let Some(mut made) = alike(cx, all, &values[..carried], write, &orders)? else { return Ok(None) };
    for (stack, &at) in made[carried..].iter_mut().zip(out_axes) {
        let at = axis(at, stack.rank())?;
        let perm: Vec<usize> = (1..=at).chain([0]).chain(at + 1..stack.rank()).collect();
        *stack = cx.transpose(stack, &perm)?;
    }
    Ok(Some(made))
}
