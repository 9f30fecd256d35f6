//! Control flow whose course is known when compiling.

use ir::{Dtype, Fault};

use crate::cx::{Cx, Made, must_be};

/// The branch that is taken stands in the place of the `If`.
pub fn branch(cx: &mut Cx) -> Made {
    let condition = cx.input(0)?;
    must_be(condition.dtype() == Dtype::Bool, "the condition is a bool", &condition)?;
    must_be(condition.ty.elements() == Some(1), "the condition is one bool", &condition)?;
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
    let taken = match cx.known(&condition) {
        Some(known) if known.to_i64s()[0] != 0 => yes,
        Some(_) => no,
        None => return Err(cx.must_be_known(&condition, "the condition")),
    };
    let scope = cx.scope;
    cx.importer.inline(taken, scope)
}
