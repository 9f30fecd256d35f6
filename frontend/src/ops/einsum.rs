//! Einsum: any sum of products, as diagonals, sums, transposes and batched matrix products, operand by operand.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, one};

/// An axis by its letter; the axes behind an ellipsis are numbered from the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Rest(usize),
    Letter(char),
}

/// A value whose axes are named, each once.
struct Term {
    value: Value,
    labels: Vec<Label>,
}

/// The axes of one operand. `rank`: how many it has; `None` for the result, which has `rest` behind its ellipsis.
fn labels(text: &str, rank: Option<usize>, rest: usize) -> Result<Vec<Label>, Fault> {
    let wrong = || Fault::invalid(format!("the term {text:?} of the equation does not fit its operand"));
    let letters = |part: &str| -> Result<Vec<Label>, Fault> {
        part.chars().map(|c| if c.is_ascii_alphabetic() { Ok(Label::Letter(c)) } else { Err(wrong()) }).collect()
    };
    let (before, behind) = match text.split_once("...") {
        Some((before, behind)) => (letters(before)?, Some(letters(behind)?)),
        None => (letters(text)?, None),
    };
    let Some(behind) = behind else {
        return if rank.is_none_or(|r| r == before.len()) { Ok(before) } else { Err(wrong()) };
    };
    let rest = match rank {
        Some(rank) => rank.checked_sub(before.len() + behind.len()).ok_or_else(wrong)?,
        None => rest,
    };
    Ok(before.into_iter().chain((0..rest).rev().map(Label::Rest)).chain(behind).collect())
}

/// The terms of the operands and of the result.
fn parse(equation: &str, ranks: &[usize]) -> Result<(Vec<Vec<Label>>, Vec<Label>), Fault> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (text.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return Err(Fault::invalid(format!("the equation has {} terms for {} operands", terms.len(), ranks.len())));
    }
    let operands: Vec<Vec<Label>> = terms.iter().zip(ranks).map(|(t, &r)| labels(t, Some(r), 0)).collect::<Result<_, _>>()?;
    let all: Vec<Label> = operands.iter().flatten().copied().collect();
    let rest = all.iter().filter_map(|l| if let Label::Rest(i) = l { Some(i + 1) } else { None }).max().unwrap_or(0);
    let result = match right {
        Some(right) => labels(right, None, rest)?,
        // Without a right side: what stands behind ellipses, then every letter that stands once, in order.
        None => {
            let mut once: Vec<Label> = all.iter().filter(|l| all.iter().filter(|o| o == l).count() == 1).copied().collect();
            once.retain(|l| matches!(l, Label::Letter(_)));
            once.sort();
            (0..rest).rev().map(Label::Rest).chain(once).collect()
        }
    };
    for (i, label) in result.iter().enumerate() {
        if !all.contains(label) || result[..i].contains(label) {
            return Err(Fault::invalid(format!("the right side of {equation:?} is not made of the letters on the left")));
        }
    }
    Ok((operands, result))
}

/// Axes that bear one letter become their diagonal.
fn diagonal(cx: &mut Cx, mut term: Term) -> Result<Term, Fault> {
    loop {
        let repeated = (0..term.labels.len()).find_map(|j| {
            let first = term.labels[..j].iter().position(|l| *l == term.labels[j])?;
            Some((first, j))
        });
        let Some((first, second)) = repeated else { return Ok(term) };
        let (extent, other) = (term.value.size(first)?, term.value.size(second)?);
        if extent != other {
            return Err(Fault::invalid(format!("one letter stands for {extent} and {other} elements of {}", term.value.ty)));
        }
        let kept: Vec<usize> = (0..term.labels.len()).filter(|i| *i != first && *i != second).collect();
        let order: Vec<usize> = kept.iter().copied().chain([first, second]).collect();
        let value = cx.transpose(&term.value, &order)?;
        let mut shape: Vec<Dim> = kept.iter().map(|&i| term.value.shape()[i].clone()).collect();
        shape.push(Dim::from(extent * extent));
        let value = cx.reshape(&value, shape)?;
        let rank = value.rank();
        let (mut step, mut size) = (vec![1; rank], value.shape().to_vec());
        (step[rank - 1], size[rank - 1]) = (extent as i64 + 1, Dim::from(extent));
        let value = cx.slice(&value, vec![Dim::from(0i64); rank], step, size)?;
        let labels = kept.iter().map(|&i| term.labels[i]).chain([term.labels[first]]).collect();
        term = Term { value, labels };
    }
}

/// Sums over the axes that `keep` does not hold.
fn summed(cx: &mut Cx, term: Term, keep: &dyn Fn(Label) -> bool) -> Result<Term, Fault> {
    let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| !keep(term.labels[i])).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let made = cx.reduce(&term.value, ReduceKind::Sum, &axes)?;
    let kept: Vec<usize> = (0..term.labels.len()).filter(|i| !axes.contains(i)).collect();
    let value = cx.reshape(&made, kept.iter().map(|&i| made.shape()[i].clone()).collect())?;
    Ok(Term { value, labels: kept.iter().map(|&i| term.labels[i]).collect() })
}

/// The axes of a term in another order, in groups, each group joined into one axis unless it is the first.
fn arranged(cx: &mut Cx, term: &Term, batch: &[Label], groups: [&[Label]; 2]) -> Result<Value, Fault> {
    let place = |l: &Label| term.labels.iter().position(|o| o == l).expect("the label is one of the term's");
    let order: Vec<usize> = batch.iter().chain(groups[0]).chain(groups[1]).map(place).collect();
    let value = cx.transpose(&term.value, &order)?;
    let (leading, rest) = value.shape().split_at(batch.len());
    let (first, second) = rest.split_at(groups[0].len());
    let shape = leading.iter().cloned().chain([ir::dim::product(first), ir::dim::product(second)]).collect();
    cx.reshape(&value, shape)
}

/// The size of a label in a term.
fn extent(term: &Term, label: Label) -> Option<Dim> {
    term.labels.iter().position(|l| *l == label).map(|i| term.value.shape()[i].clone())
}

/// The product of two terms, summed over what nobody needs any more.
fn product(cx: &mut Cx, a: Term, b: Term, needed: &dyn Fn(Label) -> bool) -> Result<Term, Fault> {
    for &label in &a.labels {
        if let (Some(x), Some(y)) = (extent(&a, label), extent(&b, label))
            && x != y
            && !(matches!(label, Label::Rest(_)) && (x == one() || y == one()))
        {
            return Err(Fault::invalid(format!("one letter stands for {x} elements of {} and {y} of {}", a.value.ty, b.value.ty)));
        }
    }
    let only = |x: &Term, y: &Term| x.labels.iter().filter(|l| !y.labels.contains(l)).copied().collect::<Vec<_>>();
    let (left, right) = (only(&a, &b), only(&b, &a));
    let both: Vec<Label> = a.labels.iter().filter(|l| b.labels.contains(l)).copied().collect();
    // An axis of 1 that is repeated against the other term is not summed inside a matrix product.
    let stretched = |l: &Label| extent(&a, *l) != extent(&b, *l);
    let (inner, batch): (Vec<Label>, Vec<Label>) = both.into_iter().partition(|l| !needed(*l) && !stretched(l));
    if inner.is_empty() {
        let x = arranged(cx, &a, &batch, [&left, &[]])?;
        let y = arranged(cx, &b, &batch, [&[], &right])?;
        let made = cx.apply(ScalarOp::Mul, &[&x, &y])?;
        return split(cx, made, &a, &b, batch, left, right);
    }
    let x = arranged(cx, &a, &batch, [&left, &inner])?;
    let y = arranged(cx, &b, &batch, [&inner, &right])?;
    let made = cx.dot(&x, &y)?;
    split(cx, made, &a, &b, batch, left, right)
}

/// `[batch.., left, right]` with its last two axes taken apart again.
fn split(cx: &mut Cx, made: Value, a: &Term, b: &Term, batch: Vec<Label>, left: Vec<Label>, right: Vec<Label>) -> Result<Term, Fault> {
    let mut shape = made.shape()[..batch.len()].to_vec();
    shape.extend(left.iter().filter_map(|&l| extent(a, l)));
    shape.extend(right.iter().filter_map(|&l| extent(b, l)));
    let value = cx.reshape(&made, shape)?;
    Ok(Term { value, labels: batch.into_iter().chain(left).chain(right).collect() })
}

pub fn einsum(cx: &mut Cx) -> Made {
    let Some(equation) = cx.attrs.text("equation")? else {
        return Err(Fault::invalid("attribute \"equation\" is missing"));
    };
    let values = cx.all()?;
    let ranks: Vec<usize> = values.iter().map(Value::rank).collect();
    let (operands, result) = parse(equation, &ranks)?;
    let mut terms = Vec::with_capacity(values.len());
    for (value, labels) in values.into_iter().zip(operands.iter().cloned()) {
        terms.push(diagonal(cx, Term { value, labels })?);
    }
    let mut rest = terms.into_iter().enumerate();
    let (_, mut total) = rest.next().expect("the table demands an operand");
    let later = |from: usize, label: Label| operands.get(from..).is_some_and(|o| o.iter().flatten().any(|l| *l == label));
    for (i, next) in rest {
        let sides = [next.labels.clone(), total.labels.clone()];
        let needed = |l: Label| result.contains(&l) || later(i + 1, l);
        let total_kept = summed(cx, total, &|l| needed(l) || sides[0].contains(&l))?;
        let next = summed(cx, next, &|l| needed(l) || sides[1].contains(&l))?;
        total = product(cx, total_kept, next, &needed)?;
    }
    let total = summed(cx, total, &|l| result.contains(&l))?;
    let order: Vec<usize> =
        result.iter().map(|l| total.labels.iter().position(|o| o == l).expect("the right side was checked against the left")).collect();
    Ok(vec![cx.transpose(&total.value, &order)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_name_axes() {
        let letter = Label::Letter;
        let (operands, result) = parse("...ij, jk -> ...ik", &[4, 2]).expect("it is well formed");
        assert_eq!(operands[0], [Label::Rest(1), Label::Rest(0), letter('i'), letter('j')]);
        assert_eq!(result, [Label::Rest(1), Label::Rest(0), letter('i'), letter('k')]);
        let (_, implicit) = parse("ba,ca", &[2, 2]).expect("the right side may be left out");
        assert_eq!(implicit, [letter('b'), letter('c')]);
        assert!(parse("abc->a", &[2]).is_err());
        assert!(parse("ab->az", &[2]).is_err());
        assert!(parse("a,b", &[1]).is_err());
    }
}
