//! Every form, in every class of register, address and displacement, against an independent disassembler: what it reads
//! must be what was asked for, to the last operand, width and displacement.

use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, OpKind, Register};

use super::form::{Class, Coding, FORMS, Form, Shape, Tuple};
use super::*;

const LENGTHS: [Length; 3] = [Length::L128, Length::L256, Length::L512];
const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

// ------------------------------------------------------------------------------------------------ what was asked for

fn gpr_name(register: Gpr, width: Width) -> String {
    const OLD: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    match (register.number(), width) {
        (n @ 0..8, Width::W32) => format!("e{}", OLD[n as usize]),
        (n @ 0..8, Width::W64) => format!("r{}", OLD[n as usize]),
        (n, Width::W32) => format!("r{n}d"),
        (n, Width::W64) => format!("r{n}"),
    }
}

fn vector_name(number: u8, bytes: u32) -> String {
    let letter = match bytes {
        64 => 'z',
        32 => 'y',
        _ => 'x',
    };
    format!("{letter}mm{number}")
}

fn register_name(class: Class, number: u8, bytes: u32) -> String {
    match class {
        Class::V => vector_name(number, bytes),
        Class::K => format!("k{number}"),
        Class::R32 => gpr_name(Gpr::new(number), Width::W32),
        Class::R64 => gpr_name(Gpr::new(number), Width::W64),
    }
}

fn mem_name(mem: Mem) -> String {
    let index = mem.index.map_or(String::new(), |(index, scale)| format!("+{}*{}", gpr_name(index, Width::W64), 1 << scale as u32));
    format!("[{}{index}{:+}]", gpr_name(mem.base, Width::W64), mem.disp)
}

/// Bytes of the register that ModRM.rm names.
fn rm_bytes(tuple: Tuple, length: Length) -> u32 {
    tuple.bytes(length).max(16)
}

/// Bytes of the register that ModRM.reg names.
fn reg_bytes(tuple: Tuple, length: Length) -> u32 {
    match tuple {
        Tuple::Narrow(_) => (length.bytes() / 2).max(16),
        Tuple::Full(_) | Tuple::Half(_) | Tuple::Part(_) | Tuple::Fixed(_) => length.bytes(),
    }
}

/// One instruction to try: numbers by field, and decoration.
#[derive(Clone, Copy)]
struct Case<'a> {
    form: &'a Form,
    level: Level,
    length: Length,
    reg: u8,
    vvvv: u8,
    mask: Option<(Mask, bool)>,
    broadcast: bool,
}

#[derive(Clone, Copy)]
enum Third {
    Register(u8),
    Memory(Mem),
    Pool,
}

const IMMEDIATE: u8 = 0x5A;
const SELECTOR: u8 = 13;

impl Case<'_> {
    fn expected(&self, rm: Third) -> String {
        let Case { form, length, .. } = *self;
        let reg = register_name(form.reg, self.reg, reg_bytes(form.tuple, length));
        let vvvv = register_name(form.vvvv(), self.vvvv, length.bytes());
        let bytes = match form.tuple.element() {
            Some(element) if self.broadcast => format!("{element} broadcast"),
            _ => form.tuple.bytes(length).to_string(),
        };
        let rm = match rm {
            Third::Register(n) => {
                let class = form.place.register.expect("a form with this case has a register");
                register_name(class, n, rm_bytes(form.tuple, length))
            }
            Third::Memory(mem) => format!("{} {bytes}", mem_name(mem)),
            Third::Pool => format!("[pool] {bytes}"),
        };
        let immediate = format!("#{IMMEDIATE}");
        let mut operands = match form.shape {
            Shape::Rm => vec![reg, rm],
            Shape::Rmi => vec![reg, rm, immediate],
            Shape::Mr => vec![rm, reg],
            Shape::Mri => vec![rm, reg, immediate],
            Shape::Rvm => vec![reg, vvvv, rm],
            Shape::Rvmi => vec![reg, vvvv, rm, immediate],
            Shape::Rvmr => vec![reg, vvvv, rm, vector_name(SELECTOR, length.bytes())],
            Shape::Mvr => vec![rm, vvvv, reg],
            Shape::Vmi(_) => vec![vvvv, rm, immediate],
        };
        if let Some((mask, zero)) = self.mask {
            operands[0] += &format!("{{k{}}}{}", mask.number(), if zero { "{z}" } else { "" });
        }
        let mnemonic = form.name.split('_').next().expect("a split has a first part");
        format!("{mnemonic} {}", operands.join(", "))
    }

    fn encoded(&self, rm: Third) -> Code {
        let Case { form, length, .. } = *self;
        let mut asm = Assembler::new(self.level);
        let rm = match rm {
            Third::Register(n) => match form.place.register.expect("a form with this case has a register") {
                Class::V => Vector::new(n).into(),
                Class::K => Mask::new(n).into(),
                Class::R32 | Class::R64 => Gpr::new(n).into(),
            },
            Third::Memory(mem) if self.broadcast => Operand::Broadcast(mem.into()),
            Third::Memory(mem) => mem.into(),
            Third::Pool => {
                let constant = asm.constant(&[7; 16]);
                if self.broadcast { Operand::Broadcast(constant.into()) } else { constant.into() }
            }
        };
        let reg: Reg = match form.reg {
            Class::V => Vector::new(self.reg).into(),
            Class::K => Mask::new(self.reg).into(),
            Class::R32 | Class::R64 => Gpr::new(self.reg).into(),
        };
        let vvvv: Reg = match form.vvvv() {
            Class::K => Mask::new(self.vvvv).into(),
            Class::V | Class::R32 | Class::R64 => Vector::new(self.vvvv).into(),
        };
        let vector = |reg: Reg| match reg {
            Reg::Vector(v) => v,
            other => panic!("{other:?} where a vector belongs"),
        };
        let at = asm.at(length);
        let at = match self.mask {
            Some((mask, true)) => at.zeroing(mask),
            Some((mask, false)) => at.merging(mask),
            None => at,
        };
        match form.shape {
            Shape::Rm => at.rm(form, reg, rm),
            Shape::Rmi => at.rmi(form, reg, rm, IMMEDIATE),
            Shape::Mr => at.mr(form, rm, reg),
            Shape::Mri => at.mri(form, rm, reg, IMMEDIATE),
            Shape::Rvm => at.rvm(form, reg, vvvv, rm),
            Shape::Rvmi => at.rvmi(form, reg, vvvv, rm, IMMEDIATE),
            Shape::Rvmr => at.rvmr(form, vector(reg), vector(vvvv), rm, Vector::new(SELECTOR)),
            Shape::Mvr => at.mvr(form, rm, vector(vvvv), vector(reg)),
            Shape::Vmi(_) => at.vmi(form, vector(vvvv), rm, IMMEDIATE),
        }
        asm.finish()
    }

    fn check(&self, rm: Third) {
        let code = self.encoded(rm);
        let (instruction, read) = decode(&code, true);
        assert_eq!(read, self.expected(rm), "{:02X?}", code.bytes);
        if let Third::Memory(mem) = rm {
            let evex = code.bytes[0] == 0x62;
            let unit = match self.form.tuple.element() {
                _ if !evex => 1,
                Some(element) if self.broadcast => element,
                _ => self.form.tuple.bytes(self.length),
            };
            assert_eq!(instruction.memory_displ_size(), displacement_bytes(mem, unit as i32), "{read}");
        }
    }
}

/// Bytes of displacement in the shortest encoding, as the disassembler counts: four that become eight count as eight.
fn displacement_bytes(mem: Mem, unit: i32) -> u32 {
    let rbp_like = mem.base.number() & 7 == 5;
    match mem.disp {
        0 if !rbp_like => 0,
        d if d % unit == 0 && (-128..128).contains(&(d / unit)) => 1,
        _ => 8,
    }
}

// ---------------------------------------------------------------------------------------------------- what it became

fn register_text(register: Register) -> String {
    format!("{register:?}").to_lowercase()
}

fn operand_text(instruction: &Instruction, operand: u32, sized: bool, code: &Code) -> String {
    match instruction.op_kind(operand) {
        OpKind::Register => register_text(instruction.op_register(operand)),
        OpKind::Memory => {
            let place = if instruction.is_ip_rel_memory_operand() {
                let at = instruction.ip_rel_memory_address();
                let pool = (code.instructions as u64).next_multiple_of(16);
                if at == pool { "[pool]".to_owned() } else { format!("[{at}, not {pool}]") }
            } else {
                let index = match instruction.memory_index() {
                    Register::None => String::new(),
                    index => format!("+{}*{}", register_text(index), instruction.memory_index_scale()),
                };
                let disp = instruction.memory_displacement64() as i64;
                format!("[{}{index}{disp:+}]", register_text(instruction.memory_base()))
            };
            match instruction.memory_size() {
                MemorySize::Unknown => place,
                _ if !sized => place,
                size => {
                    let broadcast = if instruction.is_broadcast() { " broadcast" } else { "" };
                    format!("{place} {}{broadcast}", size.size())
                }
            }
        }
        OpKind::NearBranch64 => format!("@{}", instruction.near_branch64()),
        OpKind::MemoryESRDI | OpKind::MemorySegRSI => "implied".to_owned(),
        OpKind::Immediate8to32 | OpKind::Immediate32 => format!("#{}", instruction.immediate(operand) as u32),
        _ => format!("#{}", instruction.immediate(operand) as i64),
    }
}

/// Reads the single instruction of `code`.
fn decode(code: &Code, sized: bool) -> (Instruction, String) {
    let mut decoder = Decoder::with_ip(64, &code.bytes[..code.instructions as usize], 0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    assert!(!instruction.is_invalid(), "no instruction: {:02X?}", code.bytes);
    assert_eq!(instruction.len(), code.instructions as usize, "more than one instruction: {:02X?}", code.bytes);
    let mut operands: Vec<String> = (0..instruction.op_count()).map(|i| operand_text(&instruction, i, sized, code)).collect();
    if instruction.has_op_mask() {
        let zero = if instruction.zeroing_masking() { "{z}" } else { "" };
        operands[0] += &format!("{{{}}}{zero}", register_text(instruction.op_mask()));
    }
    let mnemonic = format!("{:?}", instruction.mnemonic()).to_lowercase();
    let text = format!("{mnemonic} {}", operands.join(", "));
    (instruction, text.trim_end().to_owned())
}

// ------------------------------------------------------------------------------------------------------------- vector

/// A number per class of a register field: with and without each high bit.
fn numbers(class: Class, coding: Coding, evex: bool) -> &'static [u8] {
    assert!(coding.lengths != 0);
    match (class, evex) {
        (Class::V, true) => &[1, 9, 18, 31],
        (Class::V, false) => &[0, 6, 15],
        (Class::K, _) => &[1, 7],
        (Class::R32 | Class::R64, _) => &[0, 5, 12],
    }
}

fn addresses(unit: i32) -> Vec<Mem> {
    let bases = [Gpr::RAX, Gpr::RSP, Gpr::RBP, Gpr::R9, Gpr::R12, Gpr::R13];
    let indices =
        [None, Some((Gpr::RCX, Scale::S1)), Some((Gpr::RBP, Scale::S2)), Some((Gpr::R12, Scale::S4)), Some((Gpr::R15, Scale::S8))];
    let disps = [0, 1, 127, 128, -128, -129, unit, 127 * unit, 128 * unit, -128 * unit, -129 * unit, 0x1234_5678, i32::MIN];
    let mut all = Vec::new();
    for base in bases {
        for index in indices {
            all.extend(disps.map(|disp| Mem { base, index, disp }));
        }
    }
    all
}

/// Every form under VEX and under EVEX, where it exists, with the lengths that it has.
fn codings() -> impl Iterator<Item = (&'static Form, Coding, bool, Length)> {
    FORMS.iter().flat_map(|form| {
        [(form.vex, false), (form.evex, true)].into_iter().flat_map(move |(coding, evex)| {
            LENGTHS.into_iter().filter(move |&l| coding.has(l)).map(move |length| (form, coding, evex, length))
        })
    })
}

fn case(form: &Form, evex: bool, length: Length) -> Case<'_> {
    let level = if evex { Level::V4 } else { Level::V3 };
    Case { form, level, length, reg: 3, vvvv: 2, mask: None, broadcast: false }
}

#[test]
fn forms_have_distinct_names_and_a_coding() {
    let mut names: Vec<_> = FORMS.iter().map(|f| f.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FORMS.len());
    assert!(FORMS.iter().all(|f| f.vex.lengths | f.evex.lengths != 0));
}

#[test]
fn vector_registers_of_every_class() {
    for (form, coding, evex, length) in codings() {
        let Some(class) = form.place.register else { continue };
        let regs = if let Shape::Vmi(_) = form.shape { &[3] } else { numbers(form.reg, coding, evex) };
        let without = matches!(form.shape, Shape::Rm | Shape::Rmi | Shape::Mr | Shape::Mri);
        let vvvvs = if without { &[2] } else { numbers(form.vvvv(), coding, evex) };
        for &reg in regs {
            for &vvvv in vvvvs {
                for &rm in numbers(class, coding, evex) {
                    Case { reg, vvvv, ..case(form, evex, length) }.check(Third::Register(rm));
                }
            }
        }
    }
}

#[test]
fn vector_memory_of_every_class() {
    for (form, coding, evex, length) in codings() {
        let reads_memory = form.place.memory && (evex || !matches!(form.shape, Shape::Vmi(_)));
        if !reads_memory {
            continue;
        }
        let unit = form.tuple.bytes(length) as i32;
        let high = *numbers(form.reg, coding, evex).last().expect("every class has a number");
        let reg = if let Shape::Vmi(_) = form.shape { 3 } else { high };
        for mem in addresses(unit) {
            Case { reg, ..case(form, evex, length) }.check(Third::Memory(mem));
        }
        case(form, evex, length).check(Third::Pool);
        if let (true, Some(element)) = (evex, form.tuple.element()) {
            let broadcast = Case { reg, broadcast: true, ..case(form, evex, length) };
            addresses(element as i32).into_iter().for_each(|mem| broadcast.check(Third::Memory(mem)));
            broadcast.check(Third::Pool);
        }
    }
}

#[test]
fn masks_where_a_form_takes_them() {
    let mut masked = 0;
    for (form, coding, evex, length) in codings().filter(|(_, coding, evex, _)| *evex && coding.masked) {
        assert!(coding.has(length));
        for mask in [Mask::K1, Mask::K7] {
            let merging = Case { mask: Some((mask, false)), ..case(form, evex, length) };
            let zeroing = Case { mask: Some((mask, true)), ..merging };
            let can_zero = form.reg != Class::K;
            if form.place.register.is_some() {
                merging.check(Third::Register(5));
                if can_zero {
                    zeroing.check(Third::Register(5));
                }
            }
            if form.place.memory {
                let mem = Third::Memory(Mem::new(Gpr::R13, 64));
                merging.check(mem);
                if can_zero && !matches!(form.shape, Shape::Mr | Shape::Mri) {
                    zeroing.check(mem);
                }
            }
            masked += 1;
        }
    }
    assert!(masked > 0);
}

#[test]
fn evex_only_where_vex_cannot_say_it() {
    let first_byte = |write: &dyn Fn(&mut Assembler)| {
        let mut asm = Assembler::new(Level::V4);
        write(&mut asm);
        asm.finish().bytes[0]
    };
    let v = Vector::new;
    assert_eq!(first_byte(&|a| a.at(Length::L256).rvm(&form::vaddps, v(1), v(2), v(3))), 0xC5);
    assert_eq!(first_byte(&|a| a.at(Length::L256).rvm(&form::vaddps, v(1), v(2), v(13))), 0xC4);
    assert_eq!(first_byte(&|a| a.at(Length::L256).rvm(&form::vaddps, v(1), v(2), v(16))), 0x62);
    assert_eq!(first_byte(&|a| a.at(Length::L512).rvm(&form::vaddps, v(1), v(2), v(3))), 0x62);
    assert_eq!(first_byte(&|a| a.at(Length::L256).rvm(&form::vpdpbusd, v(1), v(2), v(3))), 0x62);
    assert_eq!(first_byte(&|a| a.at(Length::L256).merging(Mask::K1).rvm(&form::vaddps, v(1), v(2), v(3))), 0x62);
}

#[test]
#[should_panic(expected = "off the menu")]
fn avx2_refuses_wide_vectors() {
    Assembler::new(Level::V3).at(Length::L512).rm(&form::vmovups, Vector::new(1), Vector::new(2));
}

#[test]
#[should_panic(expected = "wrong class")]
fn a_mask_is_no_vector() {
    Assembler::new(Level::V4).at(Length::L512).rm(&form::vmovups, Mask::K1, Vector::new(2));
}

// ------------------------------------------------------------------------------------------------------------ general

fn assemble(write: impl FnOnce(&mut Assembler)) -> Code {
    let mut asm = Assembler::new(Level::V3);
    write(&mut asm);
    asm.finish()
}

fn reads(expected: &str, write: impl FnOnce(&mut Assembler)) {
    let code = assemble(write);
    let (_, text) = decode(&code, false);
    assert_eq!(text, expected, "{:02X?}", code.bytes);
}

fn all_gprs() -> impl Iterator<Item = Gpr> + Clone {
    (0..16).map(Gpr::new)
}

/// Calls `check` with each pair of registers at each width, and each address in place of the second.
fn everywhere(mut check: impl FnMut(Width, Gpr, Operand, String)) {
    for width in WIDTHS {
        for a in all_gprs() {
            for b in all_gprs() {
                check(width, a, b.into(), gpr_name(b, width));
            }
        }
        for a in [Gpr::RSI, Gpr::R14] {
            for mem in addresses(8) {
                check(width, a, mem.into(), mem_name(mem));
            }
        }
    }
}

const ALUS: [Alu; 6] = [Alu::Add, Alu::Or, Alu::And, Alu::Sub, Alu::Xor, Alu::Cmp];
const UNARIES: [Unary; 4] = [Unary::Inc, Unary::Dec, Unary::Not, Unary::Neg];
const SHIFTS: [Shift; 3] = [Shift::Shl, Shift::Shr, Shift::Sar];
const IMMEDIATES: [i32; 8] = [0, 1, -1, 127, 128, -128, -129, i32::MIN];
const CONDITIONS: [Condition; 16] = [
    Condition::O,
    Condition::No,
    Condition::B,
    Condition::Ae,
    Condition::E,
    Condition::Ne,
    Condition::Be,
    Condition::A,
    Condition::S,
    Condition::Ns,
    Condition::P,
    Condition::Np,
    Condition::L,
    Condition::Ge,
    Condition::Le,
    Condition::G,
];

fn small(name: &impl std::fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

/// An immediate as the disassembler gives it: extended by its sign to the operand's width.
fn immediate_text(width: Width, value: i32) -> String {
    match width {
        Width::W32 => format!("#{}", value as u32),
        Width::W64 => format!("#{}", value as i64),
    }
}

#[test]
fn two_operands_in_both_directions() {
    everywhere(|width, a, b, name| {
        let first = gpr_name(a, width);
        for op in ALUS {
            reads(&format!("{} {first}, {name}", small(&op)), |asm| asm.alu(op, width, a, b));
            if let Operand::Memory(_) = b {
                reads(&format!("{} {name}, {first}", small(&op)), |asm| asm.alu(op, width, b, a));
            }
        }
        reads(&format!("mov {first}, {name}"), |asm| asm.mov(width, a, b));
        reads(&format!("test {name}, {first}"), |asm| asm.test(width, b, a));
        reads(&format!("imul {first}, {name}"), |asm| asm.imul(width, a, b));
        for condition in CONDITIONS {
            reads(&format!("cmov{} {first}, {name}", small(&condition)), |asm| asm.cmov(condition, width, a, b));
        }
        if let Operand::Memory(address) = b {
            reads(&format!("mov {name}, {first}"), |asm| asm.mov(width, b, a));
            reads(&format!("lea {}, {name}", gpr_name(a, Width::W64)), |asm| asm.lea(a, address));
            for (hint, kind) in [(Prefetch::Nta, "nta"), (Prefetch::T0, "t0"), (Prefetch::T1, "t1"), (Prefetch::T2, "t2")] {
                reads(&format!("prefetch{kind} {name}"), |asm| asm.prefetch(hint, address));
            }
        }
    });
}

#[test]
fn immediates_of_every_size() {
    everywhere(|width, a, b, name| {
        let first = gpr_name(a, width);
        for value in IMMEDIATES {
            let text = immediate_text(width, value);
            for op in ALUS {
                reads(&format!("{} {name}, {text}", small(&op)), |asm| asm.alu(op, width, b, value));
            }
            reads(&format!("test {name}, {text}"), |asm| asm.test(width, b, value));
            reads(&format!("mov {name}, {text}"), |asm| asm.mov(width, b, value));
            reads(&format!("imul {first}, {name}, {text}"), |asm| asm.imul_by(width, a, b, value));
        }
        for op in SHIFTS {
            reads(&format!("{} {name}, #7", small(&op)), |asm| asm.shift(op, width, b, 7));
        }
        for op in UNARIES {
            reads(&format!("{} {name}", small(&op)), |asm| asm.unary(op, width, b));
        }
    });
}

#[test]
fn short_names_are_what_they_stand_for() {
    reads("add rax, #5", |asm| asm.add(Gpr::RAX, 5));
    reads("sub r8, rcx", |asm| asm.sub(Gpr::R8, Gpr::RCX));
    reads("cmp [rdi+8], rdx", |asm| asm.cmp(Mem::new(Gpr::RDI, 8), Gpr::RDX));
    reads("xor r9d, r9d", |asm| asm.clear(Gpr::R9));
    reads("mov r9, rbx", |asm| asm.copy(Gpr::R9, Gpr::RBX));
}

#[test]
fn constants_load_in_the_fewest_bytes() {
    let cases = [(0, "e", 5), (0xFFFF_FFFF, "e", 5), (-1, "r", 7), (i32::MIN as i64, "r", 7), (1 << 32, "r", 10), (i64::MIN, "r", 10)];
    for (value, prefix, bytes) in cases {
        reads(&format!("mov {prefix}ax, #{value}"), |asm| asm.load_immediate(Gpr::RAX, value));
        assert_eq!(assemble(|asm| asm.load_immediate(Gpr::RAX, value)).bytes.len(), bytes);
        for to in all_gprs() {
            let width = if prefix == "e" { Width::W32 } else { Width::W64 };
            reads(&format!("mov {}, #{value}", gpr_name(to, width)), |asm| asm.load_immediate(to, value));
        }
    }
}

fn byte_name(register: Gpr) -> String {
    const OLD: [&str; 8] = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"];
    OLD.get(register.number() as usize).map_or_else(|| format!("r{}l", register.number()), |n| (*n).to_owned())
}

fn word_name(register: Gpr) -> String {
    let n = register.number();
    if n < 8 { gpr_name(register, Width::W64)[1..].to_owned() } else { format!("r{n}w") }
}

#[test]
fn narrow_loads_and_stores() {
    for a in all_gprs() {
        for b in all_gprs() {
            let cases = [
                (Narrow::ZeroByte, "movzx", Width::W32, byte_name(b)),
                (Narrow::ZeroWord, "movzx", Width::W32, word_name(b)),
                (Narrow::SignByte, "movsx", Width::W64, byte_name(b)),
                (Narrow::SignWord, "movsx", Width::W64, word_name(b)),
                (Narrow::SignDouble, "movsxd", Width::W64, gpr_name(b, Width::W32)),
            ];
            for (narrow, mnemonic, width, from) in cases {
                reads(&format!("{mnemonic} {}, {from}", gpr_name(a, width)), |asm| asm.load_narrow(narrow, a, b));
                let mem = Mem::new(b, 24);
                let text = format!("{mnemonic} {}, {}", gpr_name(a, width), mem_name(mem));
                reads(&text, |asm| asm.load_narrow(narrow, a, mem));
            }
            let mem = Mem::new(b, 24);
            reads(&format!("mov {}, {}", mem_name(mem), byte_name(a)), |asm| asm.store_byte(mem, a));
            reads(&format!("mov {}, {}", mem_name(mem), word_name(a)), |asm| asm.store_word(mem, a));
        }
        for condition in CONDITIONS {
            reads(&format!("set{} {}", small(&condition), byte_name(a)), |asm| asm.set(condition, a));
        }
        reads(&format!("push {}", gpr_name(a, Width::W64)), |asm| asm.push(a));
        reads(&format!("pop {}", gpr_name(a, Width::W64)), |asm| asm.pop(a));
        reads(&format!("call {}", gpr_name(a, Width::W64)), |asm| asm.call_at(a));
    }
}

#[test]
fn instructions_without_operands() {
    let expected = [
        "ret",
        "ud2",
        "int3",
        "cpuid",
        "xgetbv",
        "syscall",
        "rdtsc",
        "rdtscp",
        "lfence",
        "sfence",
        "cqo",
        "movsb",
        "stosb",
        "stosd",
        "vzeroupper",
    ];
    assert_eq!(Fixed::ALL.len(), expected.len());
    for (&instruction, expected) in Fixed::ALL.iter().zip(expected) {
        let code = assemble(|asm| asm.fixed(instruction));
        let (decoded, _) = decode(&code, false);
        assert_eq!(format!("{:?}", decoded.mnemonic()).to_lowercase(), expected);
        assert_eq!(decoded.has_rep_prefix(), format!("{instruction:?}").starts_with("Rep"));
    }
}

#[test]
fn padding_is_nops_up_to_the_boundary() {
    for before in 0..70 {
        let code = assemble(|asm| {
            asm.nop(before);
            asm.align(64);
        });
        assert_eq!(code.bytes.len(), before.next_multiple_of(64));
        let all = Decoder::new(64, &code.bytes, DecoderOptions::NONE);
        assert!(all.into_iter().all(|i| format!("{:?}", i.mnemonic()) == "Nop"));
    }
}

// ------------------------------------------------------------------------------------- labels, pool, symbols

/// The instruction at the end of `code`, which starts at `at`.
fn last(code: &Code, at: usize) -> Instruction {
    Decoder::with_ip(64, &code.bytes[at..code.instructions as usize], at as u64, DecoderOptions::NONE).decode()
}

#[test]
fn backward_branches_take_the_short_form_exactly_while_it_reaches() {
    for distance in [0, 1, 100, 125, 126, 127, 128, 129, 1000] {
        for condition in [None, Some(Condition::Ne), Some(Condition::G)] {
            let code = assemble(|asm| {
                let top = asm.here();
                asm.nop(distance);
                match condition {
                    Some(condition) => asm.jcc(condition, top),
                    None => asm.jmp(top),
                }
            });
            let branch = last(&code, distance);
            assert_eq!(branch.near_branch64(), 0);
            let long = if condition.is_some() { 6 } else { 5 };
            assert_eq!(branch.len(), if distance + 2 <= 128 { 2 } else { long });
        }
    }
}

#[test]
fn forward_branches_and_calls_reach_their_label() {
    for condition in CONDITIONS {
        let code = assemble(|asm| {
            let end = asm.label();
            asm.jcc(condition, end);
            asm.call(end);
            asm.jmp(end);
            asm.nop(77);
            asm.bind(end);
        });
        let end = code.instructions as u64;
        let all: Vec<_> = Decoder::with_ip(64, &code.bytes, 0, DecoderOptions::NONE).into_iter().take(3).collect();
        assert!(all.iter().all(|i| i.near_branch64() == end));
        assert_eq!(format!("{:?}", all[0].mnemonic()).to_lowercase(), format!("j{}", small(&condition)));
        assert_eq!(all[1].mnemonic(), iced_x86::Mnemonic::Call);
    }
}

#[test]
#[should_panic(expected = "a label that is used is bound")]
fn a_label_without_place_is_refused() {
    let mut asm = Assembler::new(Level::V3);
    let nowhere = asm.label();
    asm.jmp(nowhere);
    asm.finish();
}

#[test]
fn the_pool_is_behind_the_code_aligned_and_without_repetition() {
    let code = assemble(|asm| {
        let small = asm.constant(&[1, 2, 3, 4]);
        let wide = asm.constant(&[9; 64]);
        assert_eq!(small, asm.constant(&[1, 2, 3, 4]));
        asm.at(Length::L128).rm(&form::vmovss, Vector::new(1), small);
        asm.at(Length::L256).rvmi(&form::vshufps, Vector::new(1), Vector::new(2), wide, 0);
        asm.mov(Width::W32, Gpr::RAX, Operand::Memory(small.into()));
        asm.alu(Alu::Cmp, Width::W32, Operand::Memory(small.into()), 1000);
    });
    let places: Vec<_> = Decoder::with_ip(64, &code.bytes[..code.instructions as usize], 0, DecoderOptions::NONE)
        .into_iter()
        .map(|i| i.ip_rel_memory_address() as usize)
        .collect();
    assert_eq!(places, [128, 64, 128, 128]);
    assert_eq!(code.bytes[64..128], [9; 64]);
    assert_eq!(code.bytes[128..], [1, 2, 3, 4]);
}

#[test]
fn symbols_become_relocations_that_count_from_the_field() {
    let code = assemble(|asm| {
        let there = asm.symbol("there");
        assert_eq!(there, asm.symbol("there"));
        asm.call_symbol(there);
        asm.jmp_symbol(there);
        asm.lea(Gpr::R9, there);
        asm.at(Length::L128).rmi(&form::vpshufd, Vector::new(1), there, 1);
    });
    let fields: Vec<_> = code.relocations.iter().map(|r| (r.offset, r.symbol.as_str(), r.addend)).collect();
    assert_eq!(fields, [(1, "there", -4), (6, "there", -4), (13, "there", -4), (21, "there", -5)]);
}
