//! The C interface: a hand-made model behind every form of artifact, called through its generated header; headers of hostile
//! descriptions under the strictest flags; the JSON read back by an independent reader.

mod common;

use std::path::Path;
use std::process::Command;

use artifact::describe::{Contents, Description, Dim, Quantization, Symbol as Named, Tensor};
use artifact::{Code, Content, Machine, RelocationKind, Symbol, System};
use common::*;

fn tensor(name: &str, dtype: i32, dims: &[i64], element: u64) -> Tensor {
    let bytes = dims.iter().product::<i64>() as u64 * element;
    let dims = dims.iter().map(|&bound| Dim { bound, symbol: None }).collect();
    Tensor { name: name.into(), dtype, dims, bytes, quantization: None }
}

/// `y[0] = x[0] + 1.5` and status 0.
fn description(name: &str) -> Description {
    Description {
        name: name.into(),
        target: "x86_64-linux".into(),
        levels: vec!["x86-64-v3".into()],
        compiler: "maquette 0.1.0".into(),
        inputs: vec![tensor("x", 1, &[1], 4)],
        outputs: vec![tensor("y", 1, &[1], 4)],
        arena_bytes: 192,
        arena_align: 64,
        worker_bytes: 64,
        ..Description::default()
    }
}

fn code(description: &Description) -> Code {
    let local = |part: &str| format!("{}.{part}", description.name);
    let (run, cpu, bias) = (local("run"), local("cpu"), local("bias"));
    // mov rax, [rdi]; mov rax, [rax]; mov rcx, [rdi + 8]; mov rcx, [rcx]; movss xmm0, [rax]; addss xmm0, [rip + bias];
    // movss [rcx], xmm0; xor eax, eax; ret
    let bytes = vec![
        0x48, 0x8b, 0x07, 0x48, 0x8b, 0x00, 0x48, 0x8b, 0x4f, 0x08, 0x48, 0x8b, 0x09, 0xf3, 0x0f, 0x10, 0x00, 0xf3, 0x0f, 0x58, 0x05, 0, 0,
        0, 0, 0xf3, 0x0f, 0x11, 0x01, 0x31, 0xc0, 0xc3,
    ];
    let mut symbols = vec![
        Symbol::function(&run, 16, bytes, vec![relocation(21, RelocationKind::X86Pc32, &bias, -4)]),
        // mov eax, 1; ret
        Symbol::function(&cpu, 16, vec![0xb8, 1, 0, 0, 0, 0xc3], vec![]),
        Symbol::constant(&bias, 4, Content::Bytes(1.5f32.to_le_bytes().to_vec())),
    ];
    symbols.extend(artifact::descriptor(description, &run, &cpu, None).expect("it is consistent"));
    Code { machine: Machine::X86_64, system: System::Linux, symbols }
}

const C99: &[&str] = &[
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wcast-qual",
    "-Wshadow",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wwrite-strings",
    "-Werror",
];
const CPP: &[&str] = &[
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wcast-qual",
    "-Wshadow",
    "-Wundef",
    "-Wold-style-cast",
    "-Wzero-as-null-pointer-constant",
    "-Werror",
];

/// Compiles `source` (text that includes headers of `dir`) as C99, C11, C++11 and C++17.
fn compiles_everywhere(dir: &Path, source: &str, test: &str) {
    let (c, cpp) = (dir.join("user.c"), dir.join("user.cc"));
    for path in [&c, &cpp] {
        std::fs::write(path, source).expect("the folder is ours");
    }
    if ROOM.have("cc", test) {
        for standard in ["-std=c99", "-std=c11"] {
            let warnings = printed(Command::new("cc").args(C99).arg(standard).args(["-c", "-o", "/dev/null"]).arg(&c).current_dir(dir));
            assert_eq!(warnings, "");
        }
    }
    if ROOM.have("g++", test) {
        for standard in ["-std=c++11", "-std=c++17"] {
            printed(Command::new("g++").args(CPP).arg(standard).args(["-c", "-o", "/dev/null"]).arg(&cpp).current_dir(dir));
        }
    }
}

fn write_header(dir: &Path, description: &Description) -> String {
    let text = artifact::header(description).expect("it is consistent");
    std::fs::write(dir.join(format!("{}.h", description.name)), &text).expect("the folder is ours");
    text
}

const CALLER: &str = r#"
#include "first.h"
#include "second.h"
#include <stdio.h>
#include <string.h>
MAQUETTE_ALIGN(first_ARENA_ALIGN) static unsigned char arena[first_ARENA_BYTES];
int main(void)
{
    const float x[first_in_x_ELEMENTS] = { 40.5f };
    float y[second_out_y_ELEMENTS];
    int32_t status = first_run(x, y, arena);
    printf("%s %.1f ", maquette_status_text(status), y[0]);
    status = second_run_on(y, y, arena, second_model.cpu());
    printf("%s %.1f %s\n", maquette_status_text(status), y[0], maquette_status_text(99));
    const unsigned long words[][2] = { { 2, 0 }, { 2ul | 1ul << 20, 0 }, { 2ul | 1ul << 20, 1ul << 13 }, { ~0ul & ~(1ul << 20), 0 } };
    const uint64_t expected[] = { 3, 7, 15, 3 };
    for (int i = 0; i < 4; i++)
        if (MAQUETTE_CPU_FROM_HWCAP(words[i][0], words[i][1]) != expected[i])
            return 3;
    return strcmp(first_model.name, "first") | strcmp(second_model.inputs[0].name, "x");
}
"#;

#[test]
fn wrapper_calls_the_model() {
    let test = "wrapper_calls_the_model";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let (first, second) = (description("first"), description("second"));
    let (archive, library) = (dir.join("libfirst.a"), dir.join("libsecond.so"));
    artifact::archive(&code(&first), "first.o", &mut file(&archive)).expect("an archive");
    artifact::shared_object(&code(&second), "libsecond.so", &mut file(&library)).expect("a shared object");
    write_header(&dir, &first);
    write_header(&dir, &second);
    for path in [&archive, &library] {
        assert_eq!(tool("nm", &["-u"], path).replace("first.o:", "").trim(), "");
        let global = tool("nm", &["-g", "--defined-only"], path);
        assert_eq!(global.matches(" D ").count() + global.matches(" R ").count(), 1, "{global}");
        assert_eq!(global.matches("_model").count(), 1, "{global}");
    }
    for (compiler, flags, source) in [("cc", C99, "user.c"), ("g++", CPP, "user.cc")] {
        if !ROOM.have(compiler, test) {
            continue;
        }
        std::fs::write(dir.join(source), CALLER).expect("the folder is ours");
        let program = dir.join(compiler);
        let mut command = Command::new(compiler);
        command.args(flags).arg("-o").arg(&program).arg(dir.join(source)).args([&archive, &library]);
        printed(command.arg("-Wl,-rpath,$ORIGIN,--fatal-warnings"));
        assert_eq!(printed(&mut Command::new(&program)), "ok 42.0 ok 43.5 unknown status\n");
    }
}

fn dynamic(name: &str) -> Description {
    let quantization =
        |scale: &[f32], zero_point: &[i64], axis| Some(Quantization { scale: scale.into(), zero_point: zero_point.into(), axis });
    let mut d = description(name);
    d.symbols = [("seq", 1, 512), ("found", 0, 9)].map(|(n, min, max)| Named { name: n.into(), min, max }).to_vec();
    d.free_symbols = 1;
    d.state_bytes = 128;
    d.weights_bytes = 1 << 33;
    d.inputs.push(tensor("ids", 7, &[2, 512], 8));
    d.inputs[1].dims[1].symbol = Some(0);
    d.inputs.push(tensor("scalar", 9, &[], 1));
    d.inputs.push(Tensor { quantization: quantization(&[0.1], &[-3], None), ..tensor("q", 3, &[4], 1) });
    d.outputs.push(Tensor { quantization: quantization(&[1e-10, 2.0], &[0, -1], Some(0)), ..tensor("r", 21, &[2], 1) });
    d.outputs.push(tensor("boxes", 1, &[9, 4], 4));
    d.outputs[2].dims[0].symbol = Some(1);
    d.contents = Contents { code_bytes: 7, constant_bytes: 8, kernels: vec![("conv\"1\\".into(), 7)] };
    d
}

const LAYOUT: &str = r#"
#include "net.h"
#include <stdio.h>
#define AT(type, field) printf(" %d", (int)offsetof(maquette_##type, field))
int main(void)
{
    const maquette_model *m = &net_model;
    uint32_t i;
    int32_t k;
    AT(tensor, symbols); AT(tensor, bytes); AT(tensor, rank); AT(symbol, max); AT(call, arena); AT(call, symbols);
    AT(call, pool); AT(call, reserved); AT(call, cpu); AT(model, compiler); AT(model, arena_bytes); AT(model, run);
    printf("\n%u %s|%s|%s %d %d %d %d %.0f\n", m->abi, m->name, m->target, m->compiler, (int)m->arena_bytes, (int)m->arena_align,
           (int)m->worker_bytes, (int)m->state_bytes, (double)m->weights_bytes);
    for (i = 0; i < m->input_count + m->output_count; i++) {
        const maquette_tensor *t = i < m->input_count ? &m->inputs[i] : &m->outputs[i - m->input_count];
        printf("%s %d %d:", t->name, t->dtype, (int)t->bytes);
        for (k = 0; k < t->rank; k++) printf(" %d/%d", (int)t->dims[k], t->symbols ? t->symbols[k] : -9);
        printf("\n");
    }
    for (i = 0; i < m->symbol_count; i++) printf("%s %d..%d\n", m->symbols[i].name, (int)m->symbols[i].min, (int)m->symbols[i].max);
    printf("%d %d %d %.3f %d %d\n", net_in_ids_DIM_1, net_symbol_found_INDEX, net_FREE_SYMBOL_COUNT, (double)net_in_q_SCALE,
           1 -net_in_q_ZERO_POINT, net_ARENA_BYTES);
    m->reset(NULL);
    return (int)m->cpu() - 1;
}
"#;

#[test]
fn descriptor_has_the_layout_of_the_interface() {
    let test = "descriptor_has_the_layout_of_the_interface";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let d = dynamic("net");
    let functions = ["net.run", "net.cpu", "net.reset"];
    let mut symbols: Vec<Symbol> = functions.iter().map(|f| Symbol::function(*f, 16, vec![0xb8, 1, 0, 0, 0, 0xc3], vec![])).collect();
    symbols.extend(artifact::descriptor(&d, functions[0], functions[1], Some(functions[2])).expect("it is consistent"));
    let code = Code { machine: Machine::X86_64, system: System::Linux, symbols };
    artifact::object(&code, &mut file(&dir.join("net.o"))).expect("an object");
    write_header(&dir, &d);
    std::fs::write(dir.join("main.c"), LAYOUT).expect("the folder is ours");
    let program = dir.join("program");
    printed(Command::new("cc").args(C99).args(["-o", "program", "main.c", "net.o"]).current_dir(&dir));
    let expected = " 16 24 36 16 24 56 72 84 88 32 64 120\n\
        1 net|x86_64-linux x86-64-v3|maquette 0.1.0 192 64 64 128 8589934592\n\
        x 1 4: 1/-9\nids 7 8192: 2/-1 512/0\nscalar 9 1:\nq 3 4: 4/-9\ny 1 4: 1/-9\nr 21 2: 2/-9\nboxes 1 144: 9/1 4/-1\n\
        seq 1..512\nfound 0..9\n512 1 1 0.100 4 256\n";
    assert_eq!(printed(&mut Command::new(&program)), expected);
}

#[test]
fn header_of_dynamic_model_compiles() {
    let test = "header_of_dynamic_model_compiles";
    let dir = ROOM.folder(test);
    write_header(&dir, &dynamic("net"));
    write_header(&dir, &dynamic("Net2"));
    let user = "#include \"net.h\"\n#include \"Net2.h\"\n#include \"net.h\"\nint64_t use(void *m, int64_t *s);\nint64_t use(void *m, int64_t *s)\n{\n\
        float x = 0, y; int64_t ids[] = { 0 }; uint8_t b = 1, r[2]; int8_t q[4] = { 1, 2, 3, 4 };\n\
        static const float scales[] = net_out_r_SCALES; const int64_t shape[] = net_out_boxes_SHAPE;\n\
        y = scales[1]; return net_run(&x, ids, &b, q, &y, r, &x, s, m, m, m) + shape[0] + net_in_q_ZERO_POINT;\n}\n";
    compiles_everywhere(&dir, user, test);
}

#[test]
fn hostile_names_stay_harmless() {
    let test = "hostile_names_stay_harmless";
    let dir = ROOM.folder(test);
    let long = "x".repeat(65536);
    let names = [
        "int",
        "",
        "",
        "*/ int evil; /*",
        "a\nb",
        "a\\",
        "??/",
        "\u{202e}abc\u{2066}",
        "\u{0}",
        "日本語",
        "x:0",
        "x_0",
        "x.0",
        &long,
        &format!("{long}y"),
        "model",
        "run",
        "run_on",
        "arena",
        "symbols",
        "BYTES",
        "DIM_0",
        "a_DIM_0",
        "a",
        "%s%n",
        "\"",
        "//",
        "/*",
        "#define",
        "__FILE__",
        "_",
        "-1",
        "é",
        "e\u{301}",
        "NULL",
        "in_x",
        "\u{7f}\u{1b}[31m",
        "🦀",
        "call",
        "inputs",
    ];
    for models in [&["net", "n_int"][..], &["in"], &["out"], &["in_call"]] {
        for model in models {
            let mut d = description(model);
            d.target = "*/ #error \u{202e}".into();
            d.levels = vec!["\\\n".into()];
            d.compiler = "*/".into();
            d.inputs = names.iter().map(|n| tensor(n, 1, &[2, 3], 4)).collect();
            d.outputs = d.inputs.clone();
            d.symbols = names.iter().map(|n| Named { name: n.to_string(), min: 1, max: 3 }).collect();
            d.inputs[3].dims[1].symbol = Some(3);
            let text = write_header(&dir, &d);
            assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "plain ASCII only");
            assert!(text.len() < 100_000, "{} bytes", text.len());
            let json = artifact::json(&d).expect("it is consistent");
            assert!(json.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "plain ASCII only");
        }
        let includes: Vec<String> = models
            .iter()
            .map(|m| {
                format!(
                    "#include \"{m}.h\"
"
                )
            })
            .collect();
        compiles_everywhere(&dir, &includes.concat(), test);
    }
}

#[test]
fn model_without_tensors_has_a_header() {
    let test = "model_without_tensors_has_a_header";
    let dir = ROOM.folder(test);
    let mut d = description("net");
    (d.inputs, d.outputs, d.arena_bytes, d.worker_bytes) = (vec![], vec![], 0, 0);
    write_header(&dir, &d);
    let user = "#include \"net.h\"\nint use(void);\nint use(void)\n{\n    MAQUETTE_ALIGN(net_ARENA_ALIGN) static unsigned char a[net_ARENA_BYTES];\n\
        return net_run(a);\n}\n";
    compiles_everywhere(&dir, user, test);
}

#[test]
fn documented_caller_compiles() {
    let test = "documented_caller_compiles";
    let dir = ROOM.folder(test);
    let mut d = description("digits");
    d.inputs[0].name = "image".into();
    d.outputs[0].name = "probabilities".into();
    write_header(&dir, &d);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/abi.md")).expect("docs/abi.md");
    let blocks: Vec<&str> = page.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 4, "two ways to call, two ways to say what the CPU is");
    let second = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdlib.h>\n#include \"digits.h\"\n\
        size_t round_up(uint64_t n, uint64_t to);\n\
        void pool_for(void *p, int64_t n, void (*task)(void *c, int64_t i, int64_t worker), void *c);\n\
        int32_t use(void *library, void *pool, float *image, float *probabilities);\n\
        int32_t use(void *library, void *pool, float *image, float *probabilities)\n{\n";
    let second = format!("{second}{}return status;\n}}\n", blocks[1].replace("sizeof image", "4"));
    let word = |body: &str| {
        format!(
            "#include \"digits.h\"\nunsigned long getauxval(int);\nenum {{ AT_HWCAP, AT_HWCAP2 }};\n\
             int sysctlbyname(const char *, void *, size_t *, void *, size_t);\n\
             uint64_t word(const maquette_model *model);\nuint64_t word(const maquette_model *model)\n{{\n\
             maquette_call call;\n(void)model;\n{body}return call.cpu;\n}}\n"
        )
    };
    std::fs::write(dir.join("third.c"), word(blocks[2])).expect("the folder is ours");
    std::fs::write(dir.join("fourth.c"), word(blocks[3])).expect("the folder is ours");
    std::fs::write(dir.join("first.c"), blocks[0]).expect("the folder is ours");
    std::fs::write(dir.join("second.c"), second).expect("the folder is ours");
    if ROOM.have("cc", test) {
        for file in ["first.c", "third.c", "fourth.c"] {
            printed(Command::new("cc").args(C99).args(["-c", file]).current_dir(&dir));
        }
        let newer = ["-std=c11", "-Wno-missing-field-initializers", "-c", "second.c"];
        printed(Command::new("cc").args(C99).args(newer).current_dir(&dir));
    }
}

#[test]
fn json_reads_back() {
    let test = "json_reads_back";
    let mut d = dynamic("net");
    d.inputs[0].name = "\"\\\u{202e}🦀\n".into();
    let text = artifact::json(&d).expect("it is consistent");
    if !ROOM.have("python3", test) {
        return;
    }
    let path = ROOM.folder(test).join("net.json");
    std::fs::write(&path, text).expect("the folder is ours");
    let program = "import json,sys; d = json.load(open(sys.argv[1])); i = d['inputs']; o = d['outputs']\n\
        print(i[0]['name'] == '\"\\\\\\u202e\\U0001f980\\n', i[1]['dims'], i[1]['symbols'], i[2]['dims'], i[3]['quantization'])\n\
        print(o[1]['quantization'], d['symbols'], d['weights_bytes'], d['kernels'], d['levels'], list(d))";
    let said = printed(Command::new("python3").args(["-c", program]).arg(&path));
    let expected = "True [2, 512] [-1, 0] [] {'scale': [0.1], 'zero_point': [-3], 'axis': None}\n\
        {'scale': [1e-10, 2.0], 'zero_point': [0, -1], 'axis': 0} [{'name': 'seq', 'min': 1, 'max': 512, 'free': True}, \
        {'name': 'found', 'min': 0, 'max': 9, 'free': False}] 8589934592 [{'name': 'conv\"1\\\\', 'bytes': 7}] ['x86-64-v3'] \
        ['abi', 'name', 'target', 'levels', 'compiler', 'inputs', 'outputs', 'symbols', 'arena_bytes', 'arena_align', \
        'worker_bytes', 'state_bytes', 'weights_bytes', 'code_bytes', 'constant_bytes', 'kernels']\n";
    assert_eq!(said, expected);
}

#[test]
fn contradictions_are_faults() {
    type Damage = fn(&mut Description);
    let broken: [(&str, Damage); 9] = [
        ("cannot prefix names in C; `n_int` can", |d| d.name = "int".into()),
        ("no power of two", |d| d.arena_align = 48),
        ("arena takes", |d| d.arena_bytes = u64::MAX),
        ("symbols are free", |d| d.free_symbols = 1),
        ("is in 3..2", |d| d.symbols = vec![Named { name: "s".into(), min: 3, max: 2 }]),
        ("`x` is said to take 5 bytes", |d| d.inputs[0].bytes = 5),
        ("symbol does not exist", |d| d.inputs[0].dims[0].symbol = Some(0)),
        ("ONNX element type 8", |d| d.inputs[0].dtype = 8),
        ("quantization of `y`", |d| d.outputs[0].quantization = Some(Quantization::default())),
    ];
    for (said, damage) in broken {
        let mut d = description("net");
        damage(&mut d);
        for fault in [artifact::header(&d).err(), artifact::json(&d).err(), artifact::descriptor(&d, "r", "c", None).err()] {
            let fault = fault.expect("a contradiction").to_string();
            assert!(fault.contains(said), "{fault}");
        }
    }
}
