//! Operators of `ai.onnx.ml` and of texts that work on numbers alone: choosing features, thresholds, counting n-grams.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault, Tensor};

use crate::build::Value;
use crate::cx::{Cx, Made, must_be, one};

/// Columns of the last axis; a list is a row.
pub fn features(cx: &mut Cx) -> Made {
    let (x, columns) = (cx.input(0)?, cx.input(1)?);
    must_be(columns.dtype() == Dtype::I64, "columns are int64", &columns)?;
    let count = Dim::from(columns.sizes()?.iter().product::<usize>());
    let columns = cx.reshape(&columns, vec![count])?;
    let x = if x.rank() < 2 { cx.reshape(&x, vec![one(), ir::dim::product(x.shape())])? } else { x };
    Ok(vec![cx.gather(&x, &columns, x.rank() - 1)?])
}

/// 1 above the threshold, else 0.
pub fn binarizer(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let threshold = crate::build::number(f64::from(cx.attrs.float_or("threshold", 0.0)?));
    let text = format!("{{ t0 = cast.{}({threshold}:f64); t1 = gt(a, t0); cast.{}(t1) }}", x.dtype().name(), x.dtype().name());
    Ok(vec![cx.pointwise(&text, x.dtype(), &[&x])?])
}

/// How often each n-gram of a pool of integers stands in a row, with gaps up to a length.
pub fn count_grams(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(matches!(x.dtype(), Dtype::I32 | Dtype::I64) && matches!(x.rank(), 1 | 2), "it counts in one or two axes of integers", &x)?;
    let list = |name: &str| -> Result<Vec<i64>, Fault> { Ok(cx.attrs.ints(name)?.map_or_else(Vec::new, <[i64]>::to_vec)) };
    let (pool, starts, columns) = (list("pool_int64s")?, list("ngram_counts")?, list("ngram_indexes")?);
    let size = |name: &str, low: i64| -> Result<usize, Fault> {
        let value = cx.attrs.int(name)?.unwrap_or(-1);
        let fits = (low..=64).contains(&value);
        if fits { Ok(value as usize) } else { Err(Fault::invalid(format!("attribute {name:?} is {value}"))) }
    };
    let (shortest, longest, skips) = (size("min_gram_length", 1)?, size("max_gram_length", 1)?, size("max_skip_count", 0)?);
    cx.attrs.ignore(&["pool_strings"]);
    let weights = cx.attrs.floats("weights")?.map_or_else(|| vec![1.0; columns.len()], <[f32]>::to_vec);
    let text = match cx.attrs.text("mode")? {
        Some("TF") => "{ t0 = mul(b, 0.0); add(a, t0) }",
        Some("IDF") => "{ t0 = min(a, 1.0); mul(t0, b) }",
        Some("TFIDF") => "{ mul(a, b) }",
        other => return Err(Fault::invalid(format!("attribute \"mode\" is {other:?}"))),
    };
    let width = columns.iter().copied().max().unwrap_or(-1) + 1;
    if pool.is_empty() || weights.len() != columns.len() || columns.iter().any(|c| *c < 0) || width > 1 << 20 {
        return Err(Fault::unsupported("a pool of texts, or one that does not fit its columns, is not supported"));
    }
    let rows = if x.rank() == 1 { one() } else { x.shape()[0].clone() };
    let extent = x.size(x.rank() - 1)?;
    let flat = cx.reshape(&x, vec![rows.clone(), Dim::from(extent)])?;
    let flat = cx.cast(&flat, Dtype::I64)?;
    let mut counts: Vec<Value> = Vec::new();
    let mut total = 0;
    for (n, &start) in (1..).zip(&starts) {
        let end = starts.get(n).copied().unwrap_or(pool.len() as i64);
        let part = usize::try_from(start).ok().zip(usize::try_from(end).ok()).and_then(|(from, to)| pool.get(from..to));
        let Some(part) = part.filter(|p| p.len() % n == 0) else {
            return Err(Fault::invalid(format!("the n-grams begin at {starts:?} in a pool of {}", pool.len())));
        };
        if part.is_empty() {
            continue;
        }
        let grams = part.len() / n;
        total += grams;
        let skips = if n == 1 { 0 } else { skips };
        counts.push(match (shortest..=longest).contains(&n) {
            true => grams_of(cx, &flat, part, n, skips)?,
            false => cx.fill(Dtype::F32, 0.0, &[rows.clone(), Dim::from(grams)])?,
        });
    }
    if total != columns.len() {
        return Err(Fault::invalid(format!("there are {total} n-grams and {} columns", columns.len())));
    }
    // what no n-gram counts for stays 0
    counts.push(cx.fill(Dtype::F32, 0.0, &[rows.clone(), one()])?);
    let all = cx.concat(&counts.iter().collect::<Vec<_>>(), 1)?;
    let mut from = vec![total as i64; width as usize];
    let mut factors = vec![1.0; width as usize];
    for (i, (&column, &weight)) in columns.iter().zip(&weights).enumerate() {
        from[column as usize] = i as i64;
        factors[column as usize] = weight;
    }
    let from = cx.ints(&from);
    let ordered = cx.gather(&all, &from, 1)?;
    let factors = cx.constant(Tensor::f32s(&[width as usize], &factors));
    let made = cx.pointwise(text, Dtype::F32, &[&ordered, &factors])?;
    let shape = if x.rank() == 1 { vec![Dim::from(width)] } else { vec![rows, Dim::from(width)] };
    Ok(vec![cx.reshape(&made, shape)?])
}

/// `[rows, grams]`: how often each of the n-grams of `n` numbers stands in each row of `x`, with 0 to `skips` numbers between.
fn grams_of(cx: &mut Cx, x: &Value, pool: &[i64], n: usize, skips: usize) -> Result<Value, Fault> {
    let (rows, extent) = (x.shape()[0].clone(), x.size(1)?);
    let grams = pool.len() / n;
    let mut sum = cx.fill(Dtype::F32, 0.0, &[rows.clone(), Dim::from(grams)])?;
    for step in 1..=skips + 1 {
        let Some(places) = extent.checked_sub((n - 1) * step).filter(|p| *p > 0) else { break };
        let mut all: Option<Value> = None;
        for j in 0..n {
            let part = cx.part(x, 1, Dim::from(j * step), Dim::from(places))?;
            let part = cx.reshape(&part, vec![rows.clone(), Dim::from(places), one()])?;
            let wanted: Vec<i64> = pool.iter().copied().skip(j).step_by(n).collect();
            let wanted = cx.ints(&wanted);
            let same = cx.apply(ScalarOp::Eq, &[&part, &wanted])?;
            all = Some(match all {
                Some(before) => cx.apply(ScalarOp::And, &[&before, &same])?,
                None => same,
            });
        }
        let all = cx.cast(&all.expect("an n-gram has a number"), Dtype::F32)?;
        let found = cx.reduce(&all, ReduceKind::Sum, &[1])?;
        let found = cx.reshape(&found, vec![rows.clone(), Dim::from(grams)])?;
        sum = cx.apply(ScalarOp::Add, &[&sum, &found])?;
    }
    Ok(sum)
}
