//! The layouts are those that a C compiler gives the structs of the ABI: every field's offset and every struct's size.
#![allow(clippy::unwrap_used)]

mod c;

use core::mem::offset_of;
use runtime_stub::{MaquetteCall, MaquetteModel, MaquetteSymbol, MaquetteTensor};
use std::process::Command;

macro_rules! table {
    ($($rust:ident $c:literal: $($field:ident)*;)*) => {
        /// `struct field offset` and `struct size` lines, as Rust has them.
        fn ours() -> String {
            let mut lines = String::new();
            $(
                $(lines += &format!("{} {} {}\n", $c, stringify!($field), offset_of!($rust, $field));)*
                lines += &format!("{} {} {}\n", $c, size_of::<$rust>(), align_of::<$rust>());
            )*
            lines
        }

        /// A C program that prints the same lines.
        fn program() -> String {
            let mut lines = String::from("#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n");
            $(
                $(lines += &format!("printf(\"%s %s %zu\\n\", \"{0}\", \"{1}\", offsetof({0}, {1}));\n", $c, stringify!($field));)*
                lines += &format!("printf(\"%s %zu %zu\\n\", \"{0}\", sizeof({0}), _Alignof({0}));\n", $c);
            )*
            lines + "return 0;\n}\n"
        }
    };
}

table! {
    MaquetteTensor "maquette_tensor": name dims symbols bytes dtype rank;
    MaquetteSymbol "maquette_symbol": name min max;
    MaquetteCall "maquette_call": inputs outputs input_bytes arena arena_bytes state weights symbols parallel_for pool
        workers reserved cpu;
    MaquetteModel "maquette_model": abi input_count output_count symbol_count name target compiler inputs outputs symbols
        arena_bytes arena_align worker_bytes state_bytes weights_bytes cpu reset run;
}

#[test]
fn layouts_are_those_of_c() {
    let folder = c::Folder::new("layout");
    let Some(program) = c::compile(&folder, "layout", &program(), &[]) else { return };
    let printed = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), ours());
}

/// Holds without a C compiler too: the sizes of version 1 never change.
#[test]
fn sizes_of_version_1() {
    let sizes = [size_of::<MaquetteTensor>(), size_of::<MaquetteSymbol>(), size_of::<MaquetteCall>(), size_of::<MaquetteModel>()];
    assert_eq!(sizes, [40, 24, 96, 128]);
}
