//! `.gir`: a graph as text that parses back. Values are numbered in order; a constant stands in full while it
//! is small and by its hash when it is big, so that the text stays readable and exact. The grammar is in
//! `docs/gir.md`. This file knows how a graph is spelled; what its operators mean is not its business.

use super::attr::{Attr, Attrs, body_keyword};
use super::op::Op;
use super::{Graph, Names, NodeId, Region};
use crate::scalar::text::print_literal;
use crate::scalar::{Body, Literal};
use crate::tensor::{Dtype, Tensor, Type};
use crate::text::{Lexer, ParseError, is_word, quoted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Constants of more elements than this are written by their hash, unless all elements are alike.
pub const INLINE: usize = 16;

/// The graph as text, nodes in `order()` with the inputs first, as the signature has them.
pub fn print(graph: &Graph) -> String {
    print_with(graph, &|_| None)
}

/// The same with a comment behind every node that `note` has something to say about.
pub fn print_with(graph: &Graph, note: &dyn Fn(NodeId) -> Option<String>) -> String {
    let mut out = String::from("graph {\n");
    for (name, (low, high)) in &graph.symbols {
        let name = if is_word(name) { name.to_string() } else { quoted(name) };
        out.push_str(&format!("  symbol {name} in {low}..{high}\n"));
    }
    let order = order(graph);
    let mut number = vec![0usize; graph.bound()];
    for (i, id) in order.iter().enumerate() {
        number[id.index()] = i;
    }
    for &id in &order {
        out.push_str(&format!("  {}", line(graph, id, &number)));
        if let Some(note) = note(id) {
            out.push_str(&format!(" // {}", note.replace('\n', " ")));
        }
        out.push('\n');
    }
    let outputs: Vec<String> = graph.outputs().iter().map(|(name, id)| format!("%{} {}", number[id.index()], quoted(name))).collect();
    out.push_str(&format!("  return {}", outputs.join(", ")));
    format!("{}\n}}\n", out.trim_end())
}

/// Every node after its operands; the inputs stand first, in the order of the signature.
fn order(graph: &Graph) -> Vec<NodeId> {
    let rest = graph.order().into_iter().filter(|&id| !matches!(graph.op(id), Op::Input { .. }));
    graph.inputs().iter().copied().chain(rest).collect()
}

fn line(graph: &Graph, id: NodeId, number: &[usize]) -> String {
    let node = graph.node(id);
    let mut out = format!("%{}: {} = {}", number[id.index()], node.ty, node.op.mnemonic());
    match &node.op {
        Op::Input { name, .. } => out.push_str(&format!(" {}", quoted(name))),
        Op::Const { tensor } => out.push_str(&format!(" {}", print_elements(tensor))),
        op => {
            let operands: Vec<String> = graph.operands(id).iter().map(|o| format!("%{}", number[o.index()])).collect();
            out.push_str(&format!(" {}", operands.join(", ")));
            out.push_str(&attributes(op));
        }
    }
    out.push_str(&names(&node.names));
    out
}

/// ` {stride=[1,1]} pre { … } do { … }`, empty parts left out.
pub fn attributes(op: &Op) -> String {
    let (mut braces, mut bodies) = (Vec::new(), String::new());
    let identity = Body::identity().print();
    for (name, attr) in op.attributes() {
        match body_keyword(name) {
            None => braces.push(format!("{name}={}", attr.print())),
            Some(keyword) => {
                let text = attr.print();
                if text != identity {
                    bodies.push_str(&format!(" {keyword} {text}"));
                }
            }
        }
    }
    if braces.is_empty() { bodies } else { format!(" {{{}}}{bodies}", braces.join(", ")) }
}

fn names(names: &Names) -> String {
    let quoted: Vec<String> = names.iter().map(|n| quoted(n)).collect();
    if quoted.is_empty() { String::new() } else { format!(" !{}", quoted.join(" ")) }
}

fn inline(tensor: &Tensor) -> bool {
    tensor.elements() <= INLINE
}

/// `[1.0,2.0]`, `splat 1.0`, or `#` and the hash.
fn print_elements(tensor: &Tensor) -> String {
    if tensor.is_splat() && tensor.elements() > 1 {
        return format!("splat {}", print_element(first(tensor)));
    }
    if !inline(tensor) {
        return format!("#{:016x}", hash(tensor));
    }
    let mut elements = Vec::new();
    tensor.each(|e| elements.push(print_element(Literal::from_bytes(tensor.dtype(), e))));
    format!("[{}]", elements.join(","))
}

/// The element at the origin of a tensor that has one.
fn first(tensor: &Tensor) -> Literal {
    let rank = tensor.shape().len();
    let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
    Literal::from_bytes(tensor.dtype(), &one.bytes())
}

/// A literal without its type, which the constant's own type says.
fn print_element(l: Literal) -> String {
    let text = print_literal(l);
    let suffix = format!(":{}", l.dtype.name());
    text.strip_suffix(suffix.as_str()).map(String::from).unwrap_or(text)
}

fn parse_element(lexer: &mut Lexer, dtype: Dtype) -> Result<Literal, ParseError> {
    if lexer.eat("true") {
        return Ok(Literal { dtype, bits: 1 });
    }
    if lexer.eat("false") {
        return Ok(Literal { dtype, bits: 0 });
    }
    if lexer.eat_prefix("0x") {
        return Ok(Literal { dtype, bits: lexer.hex()? });
    }
    let text = lexer.number()?;
    let bad = |lexer: &Lexer| lexer.error(format!("`{text}` is not a {}", dtype.name()));
    match dtype {
        Dtype::F32 => text.parse().map(Literal::f32).map_err(|_| bad(lexer)),
        Dtype::U64 => text.parse().map(|bits| Literal { dtype, bits }).map_err(|_| bad(lexer)),
        d if d.is_float() => text.parse().map(|v| Literal::number(d, v)).map_err(|_| bad(lexer)),
        d => text.parse().map(|v| Literal::int(d, v)).map_err(|_| bad(lexer)),
    }
}

/// FNV-1a, 64 bits, over the type's name, the shape and the dense bytes: what a big constant is known by.
pub fn hash(tensor: &Tensor) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    let mut feed = |bytes: &[u8]| {
        for &byte in bytes {
            state = (state ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
        }
    };
    feed(tensor.dtype().name().as_bytes());
    feed(&(tensor.shape().len() as u64).to_le_bytes());
    for &n in tensor.shape() {
        feed(&(n as u64).to_le_bytes());
    }
    if tensor.is_dense() {
        feed(&tensor.bytes());
    } else {
        tensor.each(feed);
    }
    state
}

/// Every constant that the text names by its hash: what `parse` must be given beside the text.
pub fn constants(graph: &Graph) -> BTreeMap<u64, Tensor> {
    let big = |t: &&Tensor| !inline(t) && !t.is_splat();
    let mut all: BTreeMap<u64, Tensor> =
        graph.order().into_iter().filter_map(|id| graph.as_const(id)).filter(big).map(|t| (hash(t), t.clone())).collect();
    for id in graph.order() {
        if let Op::Scan { region, .. } = graph.op(id) {
            all.extend(constants(region.graph()));
        }
    }
    all
}

/// Reads a graph. `constants` finds what is written as `#hash`. Operators are checked as they are read; whole-graph
/// rules are [`super::verify`]'s. Fault: where the text stops being a graph, and why.
pub fn parse(text: &str, constants: &dyn Fn(u64) -> Option<Tensor>) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(text);
    let graph = parse_graph(&mut lexer, constants)?;
    if lexer.done() { Ok(graph) } else { Err(lexer.expected("the end")) }
}

/// Reads a graph that something else may follow.
pub fn parse_graph(lexer: &mut Lexer, constants: &dyn Fn(u64) -> Option<Tensor>) -> Result<Graph, ParseError> {
    let mut graph = Graph::new();
    let mut values = BTreeMap::new();
    lexer.expect("graph")?;
    lexer.expect("{")?;
    while lexer.eat("symbol") {
        parse_symbol(lexer, &mut graph)?;
    }
    while lexer.peek("%") {
        let name = value_name(lexer)?;
        let id = parse_node(lexer, &mut graph, &values, constants)?;
        if values.insert(name.clone(), id).is_some() {
            return Err(lexer.error(format!("%{name} stands twice")));
        }
    }
    lexer.expect("return")?;
    let mut outputs = Vec::new();
    while lexer.peek("%") || (!outputs.is_empty() && lexer.eat(",")) {
        let id = parse_value(lexer, &values)?;
        outputs.push((lexer.string()?, id));
        if !lexer.peek(",") {
            break;
        }
    }
    graph.set_outputs(outputs);
    lexer.expect("}")?;
    Ok(graph)
}

fn parse_symbol(lexer: &mut Lexer, graph: &mut Graph) -> Result<(), ParseError> {
    let name: Arc<str> = if lexer.peek("\"") { lexer.string()?.into() } else { lexer.word()?.into() };
    lexer.expect("in")?;
    let low = lexer.integer()?;
    lexer.expect("..")?;
    let high = lexer.integer()?;
    if graph.symbols.insert(name.clone(), (low, high)).is_some() {
        return Err(lexer.error(format!("the symbol {name} stands twice")));
    }
    Ok(())
}

/// `%` and a number or a word.
fn value_name(lexer: &mut Lexer) -> Result<String, ParseError> {
    lexer.expect("%")?;
    match lexer.peek_word() {
        Some(_) => Ok(lexer.word()?.to_string()),
        None => Ok(lexer.natural()?.to_string()),
    }
}

fn parse_value(lexer: &mut Lexer, values: &BTreeMap<String, NodeId>) -> Result<NodeId, ParseError> {
    let name = value_name(lexer)?;
    values.get(&name).copied().ok_or_else(|| lexer.error(format!("%{name} is not made yet")))
}

/// What stands behind a value's name: `: type = operator operands attributes names`. The type may be left out
/// where it follows from the operands.
fn parse_node(
    lexer: &mut Lexer,
    graph: &mut Graph,
    values: &BTreeMap<String, NodeId>,
    constants: &dyn Fn(u64) -> Option<Tensor>,
) -> Result<NodeId, ParseError> {
    let ty = if lexer.eat(":") { Some(Type::parse(lexer)?) } else { None };
    lexer.expect("=")?;
    let mnemonic = lexer.word()?;
    let typed = |lexer: &Lexer| ty.clone().ok_or_else(|| lexer.error(format!("an {mnemonic} needs its type")));
    let mut operands = Vec::new();
    let op = match mnemonic {
        "input" => {
            let ty = typed(lexer)?;
            Op::Input { name: lexer.string()?, ty }
        }
        "const" => {
            let ty = typed(lexer)?;
            Op::Const { tensor: parse_elements(lexer, &ty, constants)? }
        }
        mnemonic => {
            while lexer.peek("%") {
                operands.push(parse_value(lexer, values)?);
                if !lexer.eat(",") {
                    break;
                }
            }
            if mnemonic == "scan" { parse_scan(lexer, constants)? } else { Op::parse(mnemonic, lexer)? }
        }
    };
    let mut names: Names = Vec::new();
    if lexer.eat("!") {
        names.push(lexer.string()?.into());
        while lexer.peek("\"") {
            names.push(lexer.string()?.into());
        }
    }
    let id = graph.add(op, &operands, &names).map_err(|fault| lexer.error(fault.to_string()))?;
    match ty {
        Some(ty) if ty != *graph.ty(id) => Err(lexer.error(format!("the result is {}, not {ty}", graph.ty(id)))),
        _ => Ok(id),
    }
}

/// A scan's attributes, whose region may name constants that stand beside the text.
fn parse_scan(lexer: &mut Lexer, constants: &dyn Fn(u64) -> Option<Tensor>) -> Result<Op, ParseError> {
    let mut attrs = Attrs::parse(lexer)?;
    let trips = attrs.take("trips", lexer)?;
    let carried = attrs.take("carried", lexer)?;
    let sequences = attrs.take("sequences", lexer)?;
    let stacks = attrs.take("stacks", lexer)?;
    attrs.finish(lexer)?;
    lexer.expect("turn")?;
    let region = Region::new(parse_graph(lexer, constants)?);
    Ok(Op::Scan { trips, carried, sequences, stacks, region })
}

fn parse_elements(lexer: &mut Lexer, ty: &Type, constants: &dyn Fn(u64) -> Option<Tensor>) -> Result<Tensor, ParseError> {
    let Some((shape, elements)) = fixed_size(ty) else { return Err(lexer.error("a constant's shape is fixed, and not too large")) };
    if lexer.eat("#") {
        let key = lexer.hex()?;
        let Some(tensor) = constants(key) else { return Err(lexer.error(format!("the constant #{key:016x} is not here"))) };
        return if tensor.ty() == *ty { Ok(tensor) } else { Err(lexer.error(format!("#{key:016x} is {}, not {ty}", tensor.ty()))) };
    }
    if lexer.eat("random") {
        let seed = lexer.natural()?;
        if elements > 1 << 28 {
            return Err(lexer.error("that many random elements are not for a test"));
        }
        return Ok(random(ty.dtype, &shape, seed as u64));
    }
    if lexer.eat("splat") {
        return Ok(Tensor::splat(ty.dtype, &shape, &parse_element(lexer, ty.dtype)?.to_bytes()));
    }
    lexer.expect("[")?;
    let (mut bytes, mut count) = (Vec::new(), 0);
    while !lexer.eat("]") {
        if count > 0 {
            lexer.expect(",")?;
        }
        bytes.extend(parse_element(lexer, ty.dtype)?.to_bytes());
        count += 1;
    }
    if count != elements {
        return Err(lexer.error(format!("{ty} has {elements} elements, {count} are given")));
    }
    Ok(Tensor::dense(ty.dtype, &shape, bytes))
}

/// Sizes and elements, when fixed and the bytes can be counted.
fn fixed_size(ty: &Type) -> Option<(Vec<usize>, usize)> {
    let shape = ty.fixed()?;
    let elements = shape.iter().try_fold(1usize, |a, &n| a.checked_mul(n))?;
    elements.checked_mul(ty.dtype.bytes()).filter(|&b| b <= isize::MAX as usize)?;
    Some((shape, elements))
}

/// The same elements for the same seed, everywhere: floats in [-1, 1), integers from -8 to 7 (0 to 15 unsigned) as
/// far as the type goes.
pub fn random(dtype: Dtype, shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let (low, high) = dtype.int_range().map_or((0, 1), |(l, h)| (l.max(-8) as i64, h.min(if l < 0 { 7 } else { 15 }) as i64));
    let mut bytes = Vec::new();
    for _ in 0..shape.iter().product::<usize>() {
        // Knuth's constants; the upper bits are the good ones
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = state >> 40;
        let literal = if dtype.is_float() {
            Literal::number(dtype, drawn as f64 / (1u64 << 23) as f64 - 1.0)
        } else {
            Literal::int(dtype, low + (drawn % (high - low + 1) as u64) as i64)
        };
        bytes.extend(literal.to_bytes());
    }
    Tensor::dense(dtype, shape, bytes)
}

/// `f32[2] [1.0,2.0]`: a constant with its type, for messages and tests; a big one by its hash.
pub fn print_tensor(tensor: &Tensor) -> String {
    format!("{} {}", tensor.ty(), print_elements(tensor))
}

/// Reads what [`print_tensor`] writes, as far as it stands in full.
pub fn parse_tensor(lexer: &mut Lexer) -> Result<Tensor, ParseError> {
    let ty = Type::parse(lexer)?;
    parse_elements(lexer, &ty, &|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: u64) -> Option<Tensor> {
        None
    }

    const TEXT: &str = r#"graph {
  symbol seq in 1..512
  %0: f32[seq,4] = input "x"
  %1: f32[4,3] = const [1.0,-2.0,0.5,0.0,-0.0,inf,1e-45,nan,3.0,4.0,5.0,6.0] !"w"
  %2: f32[3] = const splat 0.25
  %3: f32[seq,3] = dot %0, %1, %2 {trans_a=false, trans_b=false} do { t0 = add(a, b); max(t0, 0.0) } !"Gemm_0" "Relu_1"
  %4: f32[seq,1] = reduce %3 {kind=max, axes=[1]} pre { mul(a, a) }
  return %4 "y", %3 "h"
}
"#;

    #[test]
    fn text_reads_and_prints_the_same() {
        let graph = parse(TEXT, &none).expect("it is right");
        assert_eq!(print(&graph), TEXT);
        assert_eq!(graph.symbols.get("seq"), Some(&(1, 512)));
        assert_eq!(graph.label(graph.outputs()[1].1), "Gemm_0+Relu_1");
    }

    #[test]
    fn words_name_values_and_types_may_be_left_out() {
        let text = "graph { %x: i32[2] = input \"x\" %y = map %x, %x do { add(a, b) } // twice\n return %y \"y\" }";
        let graph = parse(text, &none).expect("it is right");
        assert!(print(&graph).contains("%1: i32[2] = map %0, %0 do { add(a, b) }\n"));
    }

    #[test]
    fn big_constants_go_by_their_hash() {
        let text = "graph { %w: f32[3,7] = const random 7\n return %w \"w\" }";
        let graph = parse(text, &none).expect("it is right");
        let printed = print(&graph);
        assert!(printed.contains("= const #"), "{printed}");
        let table = constants(&graph);
        assert_eq!(table.len(), 1);
        let back = parse(&printed, &|h| table.get(&h).cloned()).expect("it is right");
        assert_eq!(print(&back), printed);
        assert!(parse(&printed, &none).expect_err("it is wrong").what.contains("is not here"));
        let permuted = table.values().next().expect("one constant").permute(&[1, 0]);
        assert_ne!(hash(&permuted), *table.keys().next().expect("one constant"));
        assert_eq!(hash(&permuted), hash(&Tensor::dense(Dtype::F32, &[7, 3], permuted.bytes())));
    }

    #[test]
    fn every_type_of_constant_reads_back() {
        for &dtype in Dtype::ALL {
            let tensor = random(dtype, &[2, 5], 3);
            let text = print_tensor(&tensor);
            assert_eq!(parse_tensor(&mut Lexer::new(&text)).as_ref(), Ok(&tensor), "{text}");
        }
        let bits = Tensor::dense(Dtype::F32, &[], 0x7fc0_0001u32.to_le_bytes().to_vec());
        assert_eq!(print_tensor(&bits), "f32[] [0x7fc00001]");
        assert_eq!(parse_tensor(&mut Lexer::new("f32[] [0x7fc00001]")), Ok(bits));
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, what) in [
            ("graph { return }", ""),
            ("graph { %0 = input \"x\" return }", "needs its type"),
            ("graph { %0: f32[2] = const [1.0] return }", "2 elements, 1 are given"),
            ("graph { %0: f32[2] = const splat 0.0 %0: f32[2] = const splat 0.0 return }", "stands twice"),
            ("graph { %0: f32[2] = map %1 return }", "%1 is not made yet"),
            ("graph { %0: f32[2] = const splat 0.0 %1: f32[3] = map %0 return }", "the result is f32[2], not f32[3]"),
            ("graph { %0: f32[2] = frob return }", "no operator `frob`"),
            ("graph { %0: f32[n] = const random 1 return }", "shape is fixed"),
            ("graph { return %0 \"y\" }", "%0 is not made yet"),
            ("graph { return } x", "expected the end"),
        ] {
            match parse(text, &none) {
                Ok(_) => assert_eq!(what, "", "{text}"),
                Err(e) => assert!(!what.is_empty() && e.what.contains(what), "{text}: {e}"),
            }
        }
    }
}
