//! The program `maquette`: runs the command line on a thread with a deep stack, and turns a panic, which is a mistake of
//! ours, into exit code 70 and a request to report it.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Bytes of stack: graphs nest, and their parts are walked recursively.
const STACK: usize = 256 << 20;

fn main() -> ExitCode {
    let said = Arc::new(Mutex::new(String::new()));
    let hook = said.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("a panic without words");
        let place = panic.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        if let Ok(mut said) = hook.lock()
            && said.is_empty()
        {
            *said = format!("{what}{place}");
        }
    }));
    let worker = std::thread::Builder::new().stack_size(STACK).spawn(maquette::cli::main);
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(_)) => {
            let what = said.lock().map_or_else(|_| "a panic while panicking".to_string(), |said| said.clone());
            eprintln!("{}", maquette::cli::panic_message(&what));
            ExitCode::from(70)
        }
        Err(why) => {
            eprintln!("error: no thread can be started: {why}");
            ExitCode::from(70)
        }
    }
}
