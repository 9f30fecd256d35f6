//! The command line: words to options, results to tables. One file per command; what a command does is the library's.

mod arguments;
mod bench;
mod compile;
mod console;
mod explain;
mod inspect;
mod lists;
mod probes;
mod prune;
mod quantize;
mod run;
mod smaller;
mod verify;

use clap::{Parser, Subcommand};

use crate::error::Result;
use console::Console;

/// Compiles ONNX models to small native artifacts without dependencies.
#[derive(Parser)]
#[command(name = "maquette", bin_name = "maquette", version, max_term_width = 110, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    console: console::Flags,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a model to a library, an object, an executable
    Compile(compile::Args),
    /// Compile a model and run it on arrays
    Run(run::Args),
    /// Compare a compiled model with the reference interpreter, or with given outputs
    Verify(verify::Args),
    /// Measure how long a compiled model takes
    Bench(bench::Args),
    /// Show the graph after any pass, or the plan of its memory
    Inspect(inspect::Args),
    /// Tell which rewrites were done, which nearly, and why not
    Explain(explain::Args),
    /// Make a model of integers from one of floats, with samples
    Quantize(quantize::Args),
    /// Remove weights from a model and fit the rest anew, with samples
    Prune(prune::Args),
    /// List the ONNX operators that are supported
    Ops(lists::OpsArgs),
    /// List targets, CPU levels and kinds of output
    Targets(lists::TargetsArgs),
}

/// Runs the command line of this process; the exit code.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are no errors
            let code = if error.use_stderr() { 2 } else { 0 };
            let printed = error.print().or_else(|why| console::unwritten(&why));
            return printed.map_or_else(|lost| code.max(lost.exit_code()), |()| code);
        }
    };
    let console = Console::new(&cli.console);
    match dispatch(&cli.command, &console).and_then(|()| console.finish()) {
        Ok(()) => 0,
        Err(error) => {
            console.error(&error);
            error.exit_code()
        }
    }
}

fn dispatch(command: &Command, console: &Console) -> Result<()> {
    match command {
        Command::Compile(args) => compile::main(args, console),
        Command::Run(args) => run::main(args, console),
        Command::Verify(args) => verify::main(args, console),
        Command::Bench(args) => bench::main(args, console),
        Command::Inspect(args) => inspect::main(args, console),
        Command::Explain(args) => explain::main(args, console),
        Command::Quantize(args) => quantize::main(args, console),
        Command::Prune(args) => prune::main(args, console),
        Command::Ops(args) => lists::ops(args, console),
        Command::Targets(args) => lists::targets(args, console),
    }
}

/// The text for a panic that reached the top.
pub fn panic_message(what: &str) -> String {
    let what = crate::error::plain(what, 1000);
    format!(
        "error: internal error: {what}\nThis is a mistake in {}, not in your model. Please report it with this message, the command, and the model if you may \
         share it (or its graph: maquette inspect MODEL --after import --format gir).",
        crate::compile::COMPILER
    )
}
