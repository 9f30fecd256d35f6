//! A program as text, to be read: memory, constants by hash and layout, what lies where in the arena and when, the
//! calls with their addresses, and the kernels. Nothing parses it.

use super::{Address, Origin, Packed, Part, Port, Program, Step, Turns, When};
use crate::kernel::text;
use crate::text::quoted;

pub fn print(program: &Program) -> String {
    let mut out = String::from("program {\n");
    let mut line = |text: String| {
        out.push_str("  ");
        out.push_str(&text);
        out.push('\n');
    };
    let port = |port: &Port| format!("{}: {}, {} bytes", quoted(&port.name), port.ty, port.bytes);
    program.inputs.iter().enumerate().for_each(|(i, p)| line(format!("input {i} {}", port(p))));
    program.outputs.iter().enumerate().for_each(|(i, p)| line(format!("output {i} {}", port(p))));
    for (i, s) in program.symbols.iter().enumerate() {
        let origin = match &s.origin {
            Origin::Free => String::new(),
            Origin::State { offset } => format!(" = state + {offset}"),
            Origin::Derived(dim) => format!(" = {dim}"),
            Origin::Data => " from data".into(),
        };
        line(format!("symbol {i} {} in {}..={}{origin}", quoted(&s.name), s.low, s.high));
    }
    line(format!("arena {} bytes, aligned to {}", program.arena_bytes, program.arena_align));
    line(format!("scratch {} bytes", program.worker_bytes));
    if program.state_bytes > 0 {
        line(format!("state {} bytes", program.state_bytes));
    }
    for (i, packed) in program.constants.iter().enumerate() {
        let parts: Vec<String> = packed.parts.iter().map(part).collect();
        let (bytes, align, parts) = (packed.bytes(), packed.align, parts.join(", "));
        line(format!("constant {i} #{:016x}, {bytes} bytes, aligned to {align}: {parts}", hash(packed)));
    }
    for a in &program.plan {
        line(format!("place {}: {}..{}, steps {}..={}", quoted(&a.name), a.offset, a.offset.saturating_add(a.bytes), a.first, a.last));
    }
    for (i, step) in program.steps.iter().enumerate() {
        for r in program.repeats.iter().filter(|r| r.first == i) {
            let turns = match r.turns {
                Turns::Fixed(turns) => turns.to_string(),
                Turns::Symbol(symbol) => program.symbols.get(symbol).map_or_else(|| format!("symbol {symbol}"), |s| quoted(&s.name)),
            };
            line(format!("repeat {turns} {{"));
        }
        print_step(program, i, step, &mut line);
        for _ in program.repeats.iter().filter(|r| r.last == i) {
            line("}".into());
        }
    }
    out.push_str("}\n");
    for kernel in &program.kernels {
        out.push('\n');
        out.push_str(&text::print(kernel));
    }
    out
}

fn print_step(program: &Program, number: usize, step: &Step, line: &mut dyn FnMut(String)) {
    let inside = "  ".repeat(program.repeats.iter().filter(|r| (r.first..=r.last).contains(&number)).count());
    let names: Vec<String> = step.names.iter().map(|name| format!(" {}", quoted(name))).collect();
    let macs = if step.macs > 0 { format!(", {} macs", step.macs) } else { String::new() };
    let when = |w: &When| match program.symbols.get(w.symbol) {
        Some(s) => format!(", when {} in {}..={}", quoted(&s.name), w.low, w.high),
        None => format!(", when symbol {} in {}..={}", w.symbol, w.low, w.high),
    };
    let when: String = step.when.iter().map(when).collect();
    line(format!("{inside}step {number} {}{}{macs}{when} {{", step.what, names.concat()));
    for call in &step.calls {
        let moves = |i: usize| match call.advance_of(i) {
            0 => String::new(),
            by if by < 0 => format!(" from the last turn + {} each", -by),
            by => format!(" + {by} each turn"),
        };
        let args: Vec<String> = call.args.iter().enumerate().map(|(i, &a)| address(a) + &moves(i)).collect();
        let name = program.kernels.get(call.kernel).map_or_else(|| format!("kernel {}", call.kernel), |k| k.name.clone());
        line(format!("{inside}  {name}({})", args.join(", ")));
    }
    line(format!("{inside}}}"));
}

fn address(address: Address) -> String {
    match address {
        Address::Input { index, offset } => format!("input {index} + {offset}"),
        Address::Output { index, offset } => format!("output {index} + {offset}"),
        Address::Arena { offset } => format!("arena + {offset}"),
        Address::Scratch { offset } => format!("scratch + {offset}"),
        Address::Constant { index, offset } => format!("constant {index} + {offset}"),
        Address::Symbols { offset } => format!("symbols + {offset}"),
        Address::State { offset } => format!("state + {offset}"),
    }
}

/// `f32[3,2] padded [4,2] split [[2,2],[2]] order [0,2,1]`, what does nothing left out.
fn part(part: &Part) -> String {
    match part {
        Part::Layout { source, padded, split, order } => {
            let mut text = source.ty().to_string();
            if padded != source.shape() {
                text += &format!(" padded {padded:?}");
            }
            if split.iter().any(|factors| factors.len() > 1) {
                text += &format!(" split {split:?}");
            }
            if order.iter().enumerate().any(|(i, &axis)| i != axis) {
                text += &format!(" order {order:?}");
            }
            text
        }
        Part::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Part::Fill { bytes } => format!("{bytes} zeros"),
        Part::Interleave { groups, parts } => {
            let parts: Vec<String> = parts.iter().map(self::part).collect();
            format!("{groups} x ({})", parts.join(", "))
        }
    }
}

/// FNV-1a, 64 bits, over the packed bytes.
fn hash(packed: &Packed) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    packed.write(&mut |piece| {
        for &byte in piece {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    });
    state
}

#[cfg(test)]
mod tests {
    use super::super::samples::two_steps;
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn a_program_as_text() {
        let mut program = two_steps();
        let w = Tensor::f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        let panels = Part::Layout { source: w, padded: vec![2, 4], split: vec![vec![2], vec![2, 2]], order: vec![1, 0, 2] };
        let parts = vec![Part::Interleave { groups: 2, parts: vec![panels, Part::Bytes(vec![7; 8].into())] }, Part::Fill { bytes: 4 }];
        program.constants.push(Packed { align: 64, parts });
        // FNV-1a of one byte 0: the basis times the prime
        program.constants.push(Packed { align: 1, parts: vec![Part::Fill { bytes: 1 }] });
        program.steps[1].macs = 12;
        let wanted = "\
program {
  input 0 \"x\": f32[4], 16 bytes
  output 0 \"y\": f32[4], 16 bytes
  arena 64 bytes, aligned to 64
  scratch 0 bytes
  constant 0 #HASH, 44 bytes, aligned to 64: 2 x (f32[2,3] padded [2, 4] split [[2], [2, 2]] order [1, 0, 2], 8 bytes), 4 zeros
  constant 1 #af63bd4c8601b7df, 1 bytes, aligned to 1: 1 zeros
  place \"t\": 16..32, steps 0..=1
  step 0 map \"node\" {
    abs(input 0 + 0, arena + 16)
  }
  step 1 map \"node\", 12 macs {
    neg(arena + 16, output 0 + 0)
  }
}

tile abs(x: read 0..16, y: write 0..16) lanes 4 {
  v0 = load p0[0]
  v0 = abs v0
  p1[0] = v0
}

tile neg(x: read 0..16, y: write 0..16) lanes 4 {
  v0 = load p0[0]
  v0 = neg v0
  p1[0] = v0
}
";
        let wanted = wanted.replace("HASH", &format!("{:016x}", hash(&program.constants[0])));
        assert_eq!(print(&program), wanted);
    }
}
