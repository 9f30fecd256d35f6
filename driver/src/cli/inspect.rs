//! `maquette inspect`: the graph after any pass, and the plan of a program's memory.

use clap::ValueEnum;
use ir::{Fault, Graph};
use passes::run::{Observer, Pass, Summary};

use super::arguments::{ModelArgs, PassArgs, TargetArgs, setup};
use super::console::Console;
use crate::compile;
use crate::error::{Error, Result};
use crate::table::Json;
use crate::{plan, view};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Show the graph after this pass; `import` is before all of them, and by default it is after all
    #[arg(long, value_name = "PASS", conflicts_with = "plan")]
    after: Option<String>,
    /// How to show the graph
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Show the plan of memory instead: offsets, bytes, first and last step of each buffer
    #[arg(long)]
    plan: bool,
    /// Tables as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line a node
    Table,
    /// The text form that parses back
    Gir,
    /// For Graphviz
    Dot,
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    let import = setup.model.import(&setup.options)?;
    import.notes.iter().for_each(|note| console.note(note));
    let graph = after(args, import.graph, &setup.options.passes, console).map_err(|error| error.of_file(&setup.model.label))?;
    if args.plan {
        let programs = compile::lower(&graph, &setup.options, &()).map_err(|error| error.of_file(&setup.model.label))?;
        if args.json {
            console.json(&Json::List(programs.iter().map(|(level, program)| plan::json(level.name, program)).collect()));
            return Ok(());
        }
        for (level, program) in &programs {
            console.print(&plan::table(program).to_string());
            console.print(&format!("{}\n", plan::summary(level.name, program)));
        }
        return Ok(());
    }
    match args.format {
        Format::Gir => console.print(&ir::graph::text::print(&graph)),
        Format::Dot => console.print(&view::dot(&graph)),
        Format::Table => {
            console.table(&view::table(&graph), args.json);
            if !args.json {
                console.print(&format!("{}\n", view::summary(&graph)));
            }
        }
    }
    Ok(())
}

/// The graph at the point that was asked for. Fault: no such pass in this recipe.
fn after(args: &Args, mut graph: Graph, options: &passes::Options, console: &Console) -> Result<Graph> {
    let wanted = args.after.as_deref();
    if wanted == Some("import") {
        return Ok(graph);
    }
    let names: Vec<&str> = options.recipe.passes().iter().map(|p| p.name).collect();
    if let Some(wanted) = wanted
        && !names.contains(&wanted)
    {
        let mut list = vec!["import"];
        names.iter().for_each(|n| {
            if !list.contains(n) {
                list.push(n)
            }
        });
        let fault = Fault::usage(format!("there is no pass {wanted:?} at -{}", options.recipe.name()));
        return Err(fault.help(format!("there are {}", list.join(", "))).into());
    }
    let mut keep = Keep { wanted, graph: None };
    console.remarks(&passes::optimize(&mut graph, options, &mut keep).map_err(Error::from)?);
    Ok(keep.graph.unwrap_or(graph))
}

/// Keeps the graph as a pass left it, the last time it ran.
struct Keep<'a> {
    wanted: Option<&'a str>,
    graph: Option<Graph>,
}

impl Observer for Keep<'_> {
    fn after(&mut self, _: usize, pass: &Pass, graph: &Graph, _: &Summary) {
        if self.wanted == Some(pass.name) {
            self.graph = Some(graph.clone());
        }
    }
}
