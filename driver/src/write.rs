//! A finished model to files: which name each form has, and what goes into it. It lays out no file itself.

use std::path::{Path, PathBuf};

use ir::{Graph, Program};

use crate::asm;
use crate::error::Result;
use crate::files::{Outputs, Written};
use crate::link::{self, Linked};
use crate::target::{Emit, Level};

/// What there is to write.
pub struct Finished<'a> {
    /// As the passes left it.
    pub graph: &'a Graph,
    pub programs: &'a [(&'static Level, Program)],
    pub linked: &'a Linked,
}

/// The name of the file for each form.
pub fn file_name(emit: Emit, name: &str) -> String {
    match emit {
        Emit::Archive => format!("lib{name}.a"),
        Emit::Object => format!("{name}.o"),
        Emit::SharedObject => format!("lib{name}.so"),
        Emit::Executable => name.to_string(),
        Emit::Header => format!("{name}.h"),
        Emit::Json => format!("{name}.json"),
        Emit::Gir => format!("{name}.gir"),
        Emit::Kir => format!("{name}.kir"),
        Emit::Asm => format!("{name}.asm"),
    }
}

/// Writes the forms into a folder, all or none. In the order of `Emit::ALL`, each once; the weight file last.
pub fn write(finished: &Finished, emits: &[Emit], folder: &Path) -> Result<Vec<Written>> {
    let name = &finished.linked.description.name;
    let mut outputs = Outputs::into(folder)?;
    for &emit in Emit::ALL.iter().filter(|e| emits.contains(e)) {
        let file = file_name(emit, name);
        outputs.file(&file, emit == Emit::Executable, |out| {
            match emit {
                Emit::Archive => artifact::archive(&finished.linked.library()?, &file_name(Emit::Object, name), out).map(drop)?,
                Emit::Object => artifact::object(&finished.linked.library()?, out).map(drop)?,
                Emit::SharedObject => artifact::shared_object(&finished.linked.library()?, &file, out).map(drop)?,
                Emit::Executable => artifact::executable(&finished.linked.executable()?, link::START, out).map(drop)?,
                Emit::Header => text(out, &artifact::header(&finished.linked.description)?)?,
                Emit::Json => text(out, &artifact::json(&finished.linked.description)?)?,
                Emit::Gir => text(out, &ir::graph::text::print(finished.graph))?,
                Emit::Kir => kir(finished.programs, out)?,
                Emit::Asm => asm::listing(&finished.linked.library()?, out)?,
            }
            Ok(())
        })?;
    }
    if let Some(weights) = &finished.linked.weights {
        outputs.file(&format!("{name}.bin"), false, |out| Ok(artifact::binary(weights, out).map(drop)?))?;
    }
    outputs.commit()
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
pub fn link_command(written: &[Written], name: &str) -> Option<String> {
    let find = |emit| {
        let file = file_name(emit, name);
        written.iter().map(|w| &w.path).find(|p| p.file_name().is_some_and(|n| n == file.as_str()))
    };
    let folder = |path: &PathBuf| path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).display().to_string();
    let library = [Emit::Archive, Emit::Object, Emit::SharedObject].into_iter().find_map(find)?;
    let include = find(Emit::Header).map_or(String::new(), |h| format!("-I {} ", folder(h)));
    let rpath = if library.extension().is_some_and(|e| e == "so") { format!(" -Wl,-rpath,{}", folder(library)) } else { String::new() };
    Some(format!("cc -O2 {include}main.c {}{rpath} -o main", library.display()))
}
