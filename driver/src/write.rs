//! A finished model to files: which name each form has, and what goes into it. It lays out no file itself.

use std::path::{Path, PathBuf};

use ir::{Graph, Program};

use crate::asm;
use crate::compile::Options;
use crate::error::{Error, Result};
use crate::files::{Outputs, Written};
use crate::link::{self, Form, Linked, Module, Objects};
use crate::target::{self, Emit, Level};

/// What there is to write.
pub struct Finished<'a> {
    /// As the passes left it.
    pub graph: &'a Graph,
    pub programs: &'a [(&'static Level, Program)],
    pub linked: &'a Linked,
}

/// The name of the file for each form; of modules there is one per level.
pub fn file_name(emit: Emit, name: &str) -> String {
    match emit {
        Emit::Archive => format!("lib{name}.a"),
        Emit::Object => format!("{name}.o"),
        Emit::SharedObject => format!("lib{name}.so"),
        Emit::Executable => name.to_string(),
        Emit::Wasm => format!("{name}.wasm"),
        Emit::Script => format!("{name}.mjs"),
        Emit::Types => format!("{name}.d.ts"),
        Emit::Header => format!("{name}.h"),
        Emit::Json => format!("{name}.json"),
        Emit::Gir => format!("{name}.gir"),
        Emit::Kir => format!("{name}.kir"),
        Emit::Asm => format!("{name}.asm"),
    }
}

/// Writes the forms into a folder, all or none. In the order of `Emit::ALL`, each once; the weight file last.
/// Fault: a form that the target does not have.
pub fn write(finished: &Finished, emits: &[Emit], folder: &Path) -> Result<Vec<Written>> {
    let description = &finished.linked.description;
    let name = &description.name;
    let mut outputs = Outputs::into(folder)?;
    for &emit in Emit::ALL.iter().filter(|e| emits.contains(e)) {
        let (file, executable) = (file_name(emit, name), emit == Emit::Executable);
        match (&finished.linked.form, emit) {
            (Form::Web(modules), Emit::Wasm) => {
                for module in modules {
                    let file = artifact::web::module_file(description, module.level);
                    outputs.file(&file, false, |out| Ok(out.write_all(&module.bytes)?))?;
                }
            }
            (Form::Web(_), Emit::Types) => {
                outputs.file(&file, false, |out| text(out, &artifact::web::d_ts(description)?))?;
                // for whoever imports the script by its full name
                outputs.file(&format!("{name}.d.mts"), false, |out| text(out, &artifact::web::d_mts(description)?))?;
            }
            (_, Emit::Header) => outputs.file(&file, executable, |out| text(out, &artifact::header(description)?))?,
            (_, Emit::Json) => outputs.file(&file, executable, |out| text(out, &artifact::json(description)?))?,
            (_, Emit::Gir) => outputs.file(&file, executable, |out| text(out, &ir::graph::text::print(finished.graph)))?,
            (_, Emit::Kir) => outputs.file(&file, executable, |out| kir(finished.programs, out))?,
            (Form::Native(objects), emit) => outputs.file(&file, executable, |out| native(finished, objects, emit, out))?,
            (Form::Web(modules), emit) => outputs.file(&file, executable, |out| web(finished, modules, emit, out))?,
        }
    }
    if let Some(weights) = &finished.linked.weights {
        outputs.file(&format!("{name}.bin"), false, |out| Ok(artifact::binary(weights, out).map(drop)?))?;
    }
    outputs.commit()
}

fn native(finished: &Finished, objects: &Objects, emit: Emit, out: &mut dyn std::io::Write) -> Result<()> {
    let description = &finished.linked.description;
    let (name, library) = (&description.name, || objects.library(description));
    match emit {
        Emit::Archive => artifact::archive(&library()?, &file_name(Emit::Object, name), out).map(drop)?,
        Emit::Object => artifact::object(&library()?, out).map(drop)?,
        Emit::SharedObject => artifact::shared_object(&library()?, &file_name(emit, name), out).map(drop)?,
        Emit::Executable => artifact::executable(&objects.executable(description)?, link::START, out).map(drop)?,
        Emit::Asm => asm::listing(&library()?, out)?,
        Emit::Wasm | Emit::Script | Emit::Types => return Err(nowhere(emit)),
        Emit::Header | Emit::Json | Emit::Gir | Emit::Kir => unreachable!("every target has it"),
    }
    Ok(())
}

fn web(finished: &Finished, modules: &[Module], emit: Emit, out: &mut dyn std::io::Write) -> Result<()> {
    let description = &finished.linked.description;
    match emit {
        Emit::Script => text(out, &artifact::web::mjs(description)?),
        Emit::Asm => asm::modules(modules, out),
        Emit::Archive | Emit::Object | Emit::SharedObject | Emit::Executable => Err(nowhere(emit)),
        Emit::Wasm | Emit::Types | Emit::Header | Emit::Json | Emit::Gir | Emit::Kir => unreachable!("it was written"),
    }
}

fn nowhere(emit: Emit) -> Error {
    Error::usage(format!("this target has no {}", emit.word()))
}

fn text(out: &mut dyn std::io::Write, text: &str) -> Result<()> {
    Ok(out.write_all(text.as_bytes())?)
}

/// The kernels of every level.
fn kir(programs: &[(&'static Level, Program)], out: &mut dyn std::io::Write) -> Result<()> {
    for (level, program) in programs {
        text(out, &format!("// {}\n", level.name))?;
        for kernel in &program.kernels {
            text(out, &ir::kernel::text::print(kernel))?;
        }
    }
    Ok(())
}

/// The command that links a program with what was written, if there is something to link.
pub fn link_command(written: &[Written], options: &Options) -> Option<String> {
    let (name, target) = (&options.name, options.target);
    let find = |emit| {
        let file = file_name(emit, name);
        written.iter().map(|w| &w.path).find(|p| p.file_name().is_some_and(|n| n == file.as_str()))
    };
    let folder = |path: &PathBuf| path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).display().to_string();
    let library = [Emit::Archive, Emit::Object, Emit::SharedObject].into_iter().find_map(find)?;
    let cc = if target::host().is_ok_and(|host| host.name == target.name) { "cc" } else { target.cc };
    let include = find(Emit::Header).map_or(String::new(), |h| format!("-I {} ", folder(h)));
    let rpath = if library.extension().is_some_and(|e| e == "so") { format!(" -Wl,-rpath,{}", folder(library)) } else { String::new() };
    Some(format!("{cc} -O2 {include}main.c {}{rpath} -o main", library.display()))
}
