//! Every form as others read it: capstone always, LLVM where `llvm-mc` is installed. Each operand goes through all registers and
//! the ends of each immediate; the texts are written here, by hand of the manual.

use super::vector::{ELEMENT, SHIFT, THREE, TWO};
use super::*;
use capstone::prelude::*;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Instructions and what they should read as.
#[derive(Default)]
struct Expected(Vec<(u32, String)>);

impl Expected {
    fn reads(&mut self, text: impl Into<String>, write: impl FnOnce(&mut Assembler)) {
        let text = text.into();
        let words = words(write);
        let [word] = words[..] else { panic!("{text} is one instruction, not {words:08x?}") };
        self.0.push((word, text));
    }

    /// Compares with both judges.
    fn check(&self, name: &str) {
        assert!(!self.0.is_empty());
        let judge = capstone();
        for (word, text) in &self.0 {
            assert_eq!(plain(&decode(&judge, *word)), plain(text), "{word:08x}, capstone");
        }
        let Some(lines) = llvm(name, self.0.iter().map(|(word, _)| *word)) else { return };
        assert_eq!(lines.len(), self.0.len());
        for (line, (word, text)) in lines.iter().zip(&self.0) {
            assert_eq!(plain(line), plain(text), "{word:08x}, llvm-mc");
        }
    }
}

fn words(write: impl FnOnce(&mut Assembler)) -> Vec<u32> {
    let mut asm = Assembler::new();
    write(&mut asm);
    asm.finish().words().collect()
}

fn capstone() -> Capstone {
    Capstone::new().arm64().mode(arch::arm64::ArchMode::Arm).build().expect("capstone knows the machine")
}

fn decode(judge: &Capstone, word: u32) -> String {
    let all = judge.disasm_all(&word.to_le_bytes(), 0).expect("it decodes");
    let one = all.first().unwrap_or_else(|| panic!("{word:08x} is no instruction"));
    format!("{} {}", one.mnemonic().unwrap_or_default(), one.op_str().unwrap_or_default())
}

/// A line for each word, if LLVM is here.
fn llvm(name: &str, words: impl Iterator<Item = u32>) -> Option<Vec<String>> {
    let tool = ["llvm-mc", "llvm-mc-19"].into_iter().find(|tool| Command::new(tool).arg("--version").output().is_ok());
    let Some(tool) = tool else {
        writeln!(std::io::stderr(), "SKIPPED arm64::{name}: llvm-mc is not installed").expect("standard error");
        return None;
    };
    let mut input = String::new();
    for word in words {
        let [a, b, c, d] = word.to_le_bytes();
        writeln!(input, "0x{a:02x} 0x{b:02x} 0x{c:02x} 0x{d:02x}").expect("a string takes all");
    }
    let mut child = Command::new(tool)
        .args(["--disassemble", "--triple=aarch64", "--mattr=+dotprod,+i8mm"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was just there");
    let mut stdin = child.stdin.take().expect("it was piped");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("writing does not panic").expect("it reads");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it writes text");
    Some(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('.')).map(str::to_owned).collect())
}

/// Without what the judges write in different ways: case, spaces, the base of numbers.
fn plain(text: &str) -> String {
    let (text, _comment) = text.split_once("//").unwrap_or((text, ""));
    let text = text.to_lowercase().replace('\t', " ").replace("{ ", "{").replace(" }", "}");
    // lanes have one digit in base 16
    let text = (10..16).fold(text, |text, lane| text.replace(&format!("[0x{lane:x}]"), &format!("[{lane}]")));
    let mut out = String::new();
    for (i, part) in text.trim().split('#').enumerate() {
        if i == 0 {
            out += part;
            continue;
        }
        let end = part.find([',', ']', ' ']).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        let (sign, digits) = number.strip_prefix('-').map_or((1, number), |digits| (-1, digits));
        match digits.strip_prefix("0x") {
            Some(digits) => write!(out, "#{}{rest}", sign * u64::from_str_radix(digits, 16).expect("a number") as i64),
            None => write!(out, "#{}{rest}", number.parse::<f64>().expect("a number")),
        }
        .expect("a string takes all");
    }
    out
}

fn v(number: u8) -> Vector {
    Vector::new(number)
}

fn x(number: u8) -> Gpr {
    Gpr::x(number)
}

/// Triples of numbers below `count` in which each place takes every value.
fn triples(count: u8) -> impl Iterator<Item = [u8; 3]> {
    (0..count).flat_map(move |n| [[n, 7 % count, 21 % count], [3, n, 30 % count], [16, 9, n]])
}

#[test]
fn three_vectors() {
    let mut all = Expected::default();
    for &form in THREE {
        let [to, of] = form.lanes;
        for [a, b, c] in triples(32) {
            // the one alias: `orr` with equal sides is a copy
            let c = if b == c { c ^ 1 } else { c };
            all.reads(format!("{} v{a}.{to}, v{b}.{of}, v{c}.{of}", form.name), |asm| asm.three(form, v(a), v(b), v(c)));
        }
    }
    for n in 0..32 {
        all.reads(format!("mov v{n}.16b, v5.16b"), |asm| asm.copy_vector(v(n), v(5)));
        all.reads(format!("mov v6.16b, v{n}.16b"), |asm| asm.copy_vector(v(6), v(n)));
    }
    for [a, b, c] in triples(32) {
        all.reads(format!("tbl v{a}.16b, {{v{b}.16b}}, v{c}.16b"), |asm| asm.table(v(a), v(b), v(c)));
    }
    all.check("three_vectors");
}

#[test]
fn two_vectors() {
    let mut all = Expected::default();
    for &form in TWO {
        for n in 0..32 {
            for (a, b) in [(n, 17), (4, n)] {
                let [to, of] = form.lanes;
                let text = format!("{} v{a}.{to}, v{b}.{of}{}", form.name, form.tail);
                all.reads(text, |asm| asm.two(form, v(a), v(b)));
            }
        }
    }
    all.check("two_vectors");
}

#[test]
fn one_lane_of_a_vector() {
    let mut all = Expected::default();
    for &form in ELEMENT {
        let [to, of, element] = form.lanes;
        for [a, b, c] in triples(32) {
            for lane in 0..4 {
                let text = format!("{} v{a}.{to}, v{b}.{of}, v{c}.{element}[{lane}]", form.name);
                all.reads(text, |asm| asm.by_element(form, v(a), v(b), v(c), lane));
            }
        }
    }
    for n in 0..32 {
        for lane in 0..4 {
            all.reads(format!("dup v{n}.4s, v11.s[{lane}]"), |asm| asm.duplicate(v(n), v(11), lane));
            all.reads(format!("dup v12.4s, v{n}.s[{lane}]"), |asm| asm.duplicate(v(12), v(n), lane));
        }
        for (width, letter) in WIDTHS {
            for lane in 0..width.lanes() {
                let text = format!("dup v{n}.{}{letter}, v11.{letter}[{lane}]", width.lanes());
                all.reads(text, |asm| asm.duplicate_of(width, v(n), v(11), lane));
            }
        }
    }
    for n in 0..31 {
        all.reads(format!("dup v3.4s, w{n}"), |asm| asm.duplicate_general(v(3), x(n)));
    }
    all.check("one_lane_of_a_vector");
}

#[test]
fn shifts_and_extractions() {
    let mut all = Expected::default();
    for &form in SHIFT {
        let counts = if form.name == "shl" { 0..32 } else { 1..33 };
        for by in counts {
            all.reads(format!("{} v1.4s, v30.4s, #{by}", form.name), |asm| asm.shift(form, v(1), v(30), by));
        }
        for n in 0..32 {
            all.reads(format!("{} v{n}.4s, v2.4s, #7", form.name), |asm| asm.shift(form, v(n), v(2), 7));
            all.reads(format!("{} v2.4s, v{n}.4s, #9", form.name), |asm| asm.shift(form, v(2), v(n), 9));
        }
    }
    for [a, b, c] in triples(32) {
        for from in 0..16 {
            let text = format!("ext v{a}.16b, v{b}.16b, v{c}.16b, #{from}");
            all.reads(text, |asm| asm.extract(v(a), v(b), v(c), from));
        }
    }
    all.check("shifts_and_extractions");
}

#[test]
fn constants_of_vectors() {
    let mut all = Expected::default();
    let mut set = |bits: u32, text: String| {
        all.reads(text, |asm| assert!(asm.set(v((bits % 32) as u8), bits), "{bits:08x} has a form"));
    };
    let to = |bits: u32| bits % 32;
    set(0, "movi v0.2d, #0".into());
    for byte in [1u32, 0x55, 0x80, 0xAB, 0xFE] {
        for shift in [0, 8, 16, 24] {
            let bits = byte << shift;
            let tail = if shift == 0 { String::new() } else { format!(", lsl #{shift}") };
            set(bits, format!("movi v{}.4s, #{byte}{tail}", to(bits)));
            set(!bits, format!("mvni v{}.4s, #{byte}{tail}", to(!bits)));
        }
        for (bits, by) in [(byte << 8 | 0xFF, 8), (byte << 16 | 0xFFFF, 16)] {
            set(bits, format!("movi v{}.4s, #{byte}, msl #{by}", to(bits)));
            set(!bits, format!("mvni v{}.4s, #{byte}, msl #{by}", to(!bits)));
        }
        let halves = byte * 0x0001_0001;
        set(halves, format!("movi v{}.8h, #{byte}", to(halves)));
        set(!halves, format!("mvni v{}.8h, #{byte}", to(!halves)));
        let high = byte * 0x0100_0100;
        set(high, format!("movi v{}.8h, #{byte}, lsl #8", to(high)));
        set(!high, format!("mvni v{}.8h, #{byte}, lsl #8", to(!high)));
        let bytes = byte * 0x0101_0101;
        set(bytes, format!("movi v{}.16b, #{byte}", to(bytes)));
    }
    // those that another form says too are left out: 0.5 is one byte
    for value in [1.0f32, -1.0, 1.9375, 31.0, 3.5, -10.0, 0.1328125] {
        set(value.to_bits(), format!("fmov v{}.4s, #{value:?}", to(value.to_bits())));
    }
    all.check("constants_of_vectors");
}

#[test]
fn what_no_constant_form_says_is_refused() {
    for bits in [0x1234_5678u32, 1.1f32.to_bits(), 0.06f32.to_bits(), 33.0f32.to_bits(), 0x00FF_00FE, 0x0102_0000] {
        assert!(words(|asm| assert!(!asm.set(v(0), bits))).is_empty());
    }
}

/// A slot of every kind with its text, those that make pairs first.
fn slots(number: u8) -> [(Slot, String); 6] {
    let slot =
        [Slot::X(x(number.min(30))), Slot::S(v(number)), Slot::D(v(number)), Slot::Q(v(number)), Slot::B(v(number)), Slot::H(v(number))];
    let mut text = ["s", "d", "q", "b", "h"].map(|kind| format!("{kind}{number}")).into_iter();
    slot.map(|slot| (slot, if let Slot::X(_) = slot { format!("x{}", number.min(30)) } else { text.next().expect("five") }))
}

fn base(number: u8) -> (Gpr, String) {
    if number == 31 { (Gpr::SP, "sp".into()) } else { (x(number), format!("x{number}")) }
}

fn tail(offset: i32) -> String {
    if offset == 0 { String::new() } else { format!(", #{offset}") }
}

#[test]
fn single_loads_and_stores() {
    let mut all = Expected::default();
    for n in 0..32 {
        let (b, name) = base(n);
        for (slot, text) in slots(n) {
            let bytes = slot.bytes();
            for offset in [0, bytes, 4095 * bytes] {
                assert!(slot.reaches(offset.into()) && !slot.reaches(i64::from(4096 * bytes)));
                all.reads(format!("ldr {text}, [{name}{}]", tail(offset)), |asm| asm.load(slot, Place::At(b, offset)));
                all.reads(format!("str {text}, [{name}{}]", tail(offset)), |asm| asm.store(slot, Place::At(b, offset)));
            }
            for offset in [-256, -1, 1, 255] {
                assert!(slot.reaches(offset.into()) && !slot.reaches(-257));
                if bytes == 1 && offset > 0 {
                    continue;
                }
                assert!(bytes == 1 || !slot.reaches(257));
                all.reads(format!("ldur {text}, [{name}, #{offset}]"), |asm| asm.load(slot, Place::At(b, offset)));
                all.reads(format!("stur {text}, [{name}, #{offset}]"), |asm| asm.store(slot, Place::At(b, offset)));
            }
            // a register that is loaded must not be moved as well
            let other = if n == 5 { 6 } else { 5 };
            for by in [-256, -16, 0, 255] {
                all.reads(format!("ldr {text}, [x{other}], #{by}"), |asm| asm.load(slot, Place::Post(x(other), by)));
                all.reads(format!("str {text}, [x{other}, #{by}]!"), |asm| asm.store(slot, Place::Pre(x(other), by)));
                all.reads(format!("str {text}, [x{other}], #{by}"), |asm| asm.store(slot, Place::Post(x(other), by)));
                all.reads(format!("ldr {text}, [x{other}, #{by}]!"), |asm| asm.load(slot, Place::Pre(x(other), by)));
            }
            all.reads(format!("ldr {text}, [{name}, x9]"), |asm| asm.load(slot, Place::Index(b, x(9))));
            all.reads(format!("str {text}, [x9, x{}]", n.min(30)), |asm| asm.store(slot, Place::Index(x(9), x(n.min(30)))));
        }
        for offset in [0, 8, 32760] {
            all.reads(format!("prfm pldl2keep, [{name}{}]", tail(offset)), |asm| asm.prefetch(Place::At(b, offset)));
        }
        for offset in [-256, 255] {
            all.reads(format!("prfum pldl2keep, [{name}, #{offset}]"), |asm| asm.prefetch(Place::At(b, offset)));
        }
        all.reads(format!("prfm pldl2keep, [{name}, x4]"), |asm| asm.prefetch(Place::Index(b, x(4))));
    }
    all.check("single_loads_and_stores");
}

#[test]
fn double_loads_and_stores() {
    let mut all = Expected::default();
    for n in 0..31 {
        let (b, name) = base(n + 1);
        for ((first, one), (second, two)) in slots(n).into_iter().zip(slots(if n == 13 { 12 } else { 13 })).take(4) {
            let bytes = first.bytes();
            for offset in [0, -64 * bytes, 63 * bytes] {
                assert!(first.pair_reaches(offset.into()) && !first.pair_reaches((64 * bytes).into()) && !first.pair_reaches(1));
                all.reads(format!("ldp {one}, {two}, [{name}{}]", tail(offset)), |asm| asm.load_pair(first, second, Place::At(b, offset)));
                all.reads(format!("stp {two}, {one}, [{name}{}]", tail(offset)), |asm| asm.store_pair(second, first, Place::At(b, offset)));
                let p = if n == 14 { 15 } else { 14 };
                all.reads(format!("ldp {one}, {two}, [x{p}], #{offset}"), |asm| asm.load_pair(first, second, Place::Post(x(p), offset)));
                all.reads(format!("stp {one}, {two}, [x{p}], #{offset}"), |asm| asm.store_pair(first, second, Place::Post(x(p), offset)));
                all.reads(format!("ldp {one}, {two}, [x{p}, #{offset}]!"), |asm| asm.load_pair(first, second, Place::Pre(x(p), offset)));
                all.reads(format!("stp {one}, {two}, [x{p}, #{offset}]!"), |asm| asm.store_pair(first, second, Place::Pre(x(p), offset)));
            }
        }
    }
    all.check("double_loads_and_stores");
}

const WIDTHS: [(Width, &str); 4] = [(Width::B, "b"), (Width::H, "h"), (Width::S, "s"), (Width::D, "d")];

#[test]
fn lanes_and_splats_in_memory() {
    let mut all = Expected::default();
    for n in 0..32 {
        let (b, name) = base(n);
        for lane in 0..4 {
            all.reads(format!("ld1 {{v{n}.s}}[{lane}], [{name}]"), |asm| asm.load_lane(v(n), lane, b, None));
            all.reads(format!("st1 {{v{n}.s}}[{lane}], [{name}]"), |asm| asm.store_lane(v(n), lane, b, None));
            let by = n.min(30);
            all.reads(format!("ld1 {{v{n}.s}}[{lane}], [x7], x{by}"), |asm| asm.load_lane(v(n), lane, x(7), Some(x(by))));
            all.reads(format!("st1 {{v{n}.s}}[{lane}], [x8], x{by}"), |asm| asm.store_lane(v(n), lane, x(8), Some(x(by))));
        }
        all.reads(format!("ld1r {{v{n}.4s}}, [{name}]"), |asm| asm.load_splat(v(n), b));
        for (width, letter) in WIDTHS {
            for lane in 0..width.lanes() {
                all.reads(format!("ld1 {{v{n}.{letter}}}[{lane}], [{name}]"), |asm| asm.load_lane_of(width, v(n), lane, b, None));
                all.reads(format!("st1 {{v{n}.{letter}}}[{lane}], [x9], x3"), |asm| asm.store_lane_of(width, v(n), lane, x(9), Some(x(3))));
            }
            let text = format!("ld1r {{v{n}.{}{letter}}}, [{name}]", width.lanes());
            all.reads(text, |asm| asm.load_splat_of(width, v(n), b));
        }
    }
    all.check("lanes_and_splats_in_memory");
}

#[test]
fn general_registers() {
    let mut all = Expected::default();
    for [a, b, c] in triples(31) {
        all.reads(format!("add x{a}, x{b}, x{c}"), |asm| asm.add_register(x(a), x(b), x(c)));
        all.reads(format!("orr x{a}, x{b}, x{c}"), |asm| asm.or_register(x(a), x(b), x(c)));
        all.reads(format!("madd x{a}, x{b}, x{c}, x4"), |asm| asm.multiply_add(x(a), x(b), x(c), x(4)));
        all.reads(format!("madd x5, x{a}, x{b}, x{c}"), |asm| asm.multiply_add(x(5), x(a), x(b), x(c)));
        all.reads(format!("mov x{a}, x{b}"), |asm| asm.copy(x(a), x(b)));
        all.reads(format!("cmp x{a}, x{b}"), |asm| asm.compare_registers(x(a), x(b)));
        for value in [0, 1, 4095] {
            all.reads(format!("subs x{a}, x{b}, #{value}"), |asm| asm.subtract_and_test(x(a), x(b), value));
            all.reads(format!("cmp x{a}, #{value}"), |asm| asm.compare(x(a), value));
        }
        for (low, count) in [(0, 1), (44, 4), (52, 4), (0, 63), (5, 58)] {
            all.reads(format!("ubfx x{a}, x{b}, #{low}, #{count}"), |asm| asm.bits(x(a), x(b), low, count));
        }
        all.reads(format!("lsr x{a}, x{b}, #60"), |asm| asm.bits(x(a), x(b), 60, 4));
    }
    for n in 0..32 {
        let (b, name) = base(n);
        for (value, text) in [(1, "#1"), (4095, "#4095"), (4096, "#1, lsl #12"), (0xFF_F000, "#4095, lsl #12")] {
            all.reads(format!("add {name}, x3, {text}"), |asm| asm.add_immediate(b, x(3), value));
            all.reads(format!("sub x3, {name}, {text}"), |asm| asm.add_immediate(x(3), b, -value));
        }
    }
    all.reads("mov x3, sp", |asm| asm.add_immediate(x(3), Gpr::SP, 0));
    all.reads("mov x3, xzr", |asm| asm.copy(x(3), Gpr::ZERO));
    for n in 0..31 {
        all.reads(format!("mrs x{n}, id_aa64isar0_el1"), |asm| asm.read_system(x(n), SystemRegister::Isar0));
        all.reads(format!("mrs x{n}, id_aa64isar1_el1"), |asm| asm.read_system(x(n), SystemRegister::Isar1));
        all.reads(format!("blr x{n}"), |asm| asm.call_register(x(n)));
    }
    all.reads("ret", Assembler::ret);
    all.reads("svc #0", Assembler::system_call);
    all.reads("brk #0", Assembler::trap);
    all.check("general_registers");
}

#[test]
fn additions_take_what_they_need() {
    let texts = |value| {
        let judge = capstone();
        let words = words(|asm| asm.add(x(1), x(2), value, x(16)));
        words.into_iter().map(|word| plain(&decode(&judge, word))).collect::<Vec<_>>()
    };
    assert_eq!(texts(0), ["add x1, x2, #0"]);
    assert_eq!(texts(-4095), ["sub x1, x2, #4095"]);
    assert_eq!(texts(0x12_3456), ["add x1, x2, #291, lsl #12", "add x1, x1, #1110"]);
    assert_eq!(texts(-0x12_3456), ["sub x1, x2, #291, lsl #12", "sub x1, x1, #1110"]);
    assert_eq!(texts(0x0100_0000), ["mov x16, #16777216", "add x1, x2, x16"]);
    assert!(words(|asm| asm.add(x(1), x(1), 0, x(16))).is_empty());
}

#[test]
fn immediates_take_the_fewest_words() {
    let judge = capstone();
    let cases: [(i64, &[&str]); 8] = [
        (0, &["mov x9, #0"]),
        (0xFFFF, &["mov x9, #65535"]),
        (-1, &["mov x9, #-1"]),
        (-65536, &["mov x9, #-65536"]),
        (1 << 40, &["mov x9, #1099511627776"]),
        (0x12345678, &["mov x9, #22136", "movk x9, #4660, lsl #16"]),
        (-2, &["mov x9, #-2"]),
        (i64::MIN + 1, &["mov x9, #1", "movk x9, #32768, lsl #48"]),
    ];
    for (value, texts) in cases {
        let read: Vec<_> = words(|asm| asm.load_immediate(x(9), value)).into_iter().map(|word| plain(&decode(&judge, word))).collect();
        assert_eq!(read, texts, "{value}");
    }
}

#[test]
fn branches_reach_their_labels() {
    let conditions = [(Condition::Equal, "b.eq"), (Condition::NotEqual, "b.ne"), (Condition::HighOrSame, "b.hs"), (Condition::Low, "b.lo")];
    type Write = Box<dyn Fn(&mut Assembler, Label)>;
    let mut kinds: Vec<(String, Write)> = vec![("b".into(), Box::new(|asm, to| asm.branch(to)))];
    for (condition, name) in conditions {
        kinds.push((name.into(), Box::new(move |asm, to| asm.branch_if(condition, to))));
    }
    for n in 0..31 {
        kinds.push((format!("cbz x{n},"), Box::new(move |asm, to| asm.branch_if_zero(x(n), to))));
        kinds.push((format!("cbnz x{n},"), Box::new(move |asm, to| asm.branch_if_not_zero(x(n), to))));
        for bit in [0, 20, 31, 32, 63] {
            let name = if bit < 32 { "w" } else { "x" };
            kinds.push((format!("tbz {name}{n}, #{bit},"), Box::new(move |asm, to| asm.branch_if_clear(x(n), bit, to))));
        }
    }
    let mut all = Expected::default();
    for (text, write) in &kinds {
        for distance in [-4i64, 0, 3, 100] {
            let words = words(|asm| {
                let to = asm.label();
                if distance <= 0 {
                    asm.bind(to);
                    (0..-distance).for_each(|_| asm.ret());
                }
                write(asm, to);
                if distance > 0 {
                    (1..distance).for_each(|_| asm.ret());
                    asm.bind(to);
                }
            });
            let at = if distance <= 0 { -distance } else { 0 } as usize;
            all.0.push((words[at], format!("{text} #{}", 4 * distance)));
        }
    }
    all.check("branches_reach_their_labels");
}

#[test]
fn a_branch_that_is_too_far_goes_by_another() {
    let far = 1 << 18;
    let words = words(|asm| {
        let top = asm.here();
        (0..far + 1).for_each(|_| asm.ret());
        asm.branch_if(Condition::NotEqual, top);
    });
    let judge = capstone();
    let read: Vec<_> = words[far + 1..].iter().map(|&word| plain(&decode(&judge, word))).collect();
    assert_eq!(read, ["b.eq #8".to_owned(), format!("b #{}", -4 * (far as i64 + 2))]);
}

#[test]
#[should_panic(expected = "a label that is used is bound")]
fn a_label_without_place_is_refused() {
    words(|asm| {
        let nowhere = asm.label();
        asm.branch(nowhere);
    });
}

#[test]
fn the_pool_is_behind_the_code_aligned_and_without_repetition() {
    for before in 0..5 {
        let mut asm = Assembler::new();
        (0..before).for_each(|_| asm.ret());
        let (one, two) = (asm.constant([1; 16]), asm.constant([2; 16]));
        assert_eq!(one, asm.constant([1; 16]));
        asm.load_constant(v(9), two);
        asm.load_constant(v(31), one);
        let code = asm.finish();
        let pool = (before + 2usize).next_multiple_of(4) * 4;
        assert_eq!(&code.bytes[pool..], [[1; 16], [2; 16]].concat());
        assert_eq!(code.instructions as usize, 4 * (before + 2));
        let judge = capstone();
        let words: Vec<_> = code.words().collect();
        assert_eq!(plain(&decode(&judge, words[before])), format!("ldr q9, #{}", pool + 16 - 4 * before));
        assert_eq!(plain(&decode(&judge, words[before + 1])), format!("ldr q31, #{}", pool - 4 * (before + 1)));
    }
}

#[test]
fn calls_are_left_to_the_linker() {
    let mut asm = Assembler::new();
    asm.ret();
    asm.call_symbol("there");
    let code = asm.finish();
    assert_eq!(code.calls, [Call { offset: 4, symbol: "there".into() }]);
    assert_eq!(plain(&decode(&capstone(), code.words().nth(1).expect("two"))), "bl #0");
}

#[test]
fn what_a_form_cannot_say_is_refused() {
    let refused = |write: fn(&mut Assembler)| std::panic::catch_unwind(|| words(write)).is_err();
    assert!(refused(|asm| asm.load(Slot::Q(v(0)), Place::At(x(0), 65536))));
    assert!(refused(|asm| asm.load(Slot::Q(v(0)), Place::At(x(0), 264))));
    assert!(refused(|asm| asm.load_pair(Slot::Q(v(0)), Slot::Q(v(1)), Place::At(x(0), 1024))));
    assert!(refused(|asm| asm.load_pair(Slot::Q(v(0)), Slot::Q(v(0)), Place::At(x(0), 0))));
    assert!(refused(|asm| asm.load_pair(Slot::Q(v(0)), Slot::D(v(1)), Place::At(x(0), 0))));
    assert!(refused(|asm| asm.add_immediate(x(0), x(0), 4097)));
    assert!(refused(|asm| asm.add_register(x(0), Gpr::SP, x(0))));
    assert!(refused(|asm| asm.add_immediate(x(0), Gpr::ZERO, 1)));
    assert!(refused(|asm| asm.duplicate(v(0), v(0), 4)));
    assert!(refused(|asm| asm.shift(super::vector::USHR, v(0), v(0), 0)));
}
