//! Classifies the committed test images with the compiled model, loaded from its shared object through the safe wrapper.
//! usage: classify LIBRARY FOLDER, e.g. `classify target/digits/libdigits.so examples/digits`. Exit 1 when fewer than
//! 98 % are right or an answer differs from onnxruntime's; 2 when the files or the model cannot be used.

use runtime_stub::{Input, Library, Output, Session};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

const PIXELS: usize = 64;
const DIGITS: usize = 10;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [library, folder] = &arguments[..] else {
        eprintln!("usage: classify LIBRARY FOLDER");
        return ExitCode::from(2);
    };
    match score(Path::new(library), Path::new(folder)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Prints the score; true when it is good enough.
fn score(library: &Path, folder: &Path) -> Result<bool, Box<dyn Error>> {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|e| format!("{}: {e}", folder.join(name).display()));
    let (images, labels) = (read("test.images.u8")?, read("test.labels.u8")?);
    let expected = String::from_utf8(read("expected.txt")?)?;
    let expected: Vec<usize> = expected.lines().map(str::parse).collect::<Result<_, _>>()?;
    let count = images.len() / PIXELS;
    if count == 0 || labels.len() != count || expected.len() != count {
        return Err("test.images.u8, test.labels.u8 and expected.txt are not of one length, or empty".into());
    }

    // SAFETY: the library is what `maquette compile digits.onnx --name digits` wrote.
    let library = unsafe { Library::open(library, "digits") }?;
    let mut session = Session::new(library.model())?;
    let (mut right, mut different) = (0, 0);
    for (i, pixels) in images.chunks_exact(PIXELS).enumerate() {
        let said = classify(&mut session, pixels)?;
        if said != expected[i] {
            eprintln!("image {i}: said {said}, onnxruntime says {}", expected[i]);
            different += 1;
        }
        right += usize::from(said == usize::from(labels[i]));
    }
    let percent = 100.0 * right as f64 / count as f64;
    println!("{right} of {count} right ({percent:.1} %), {different} unlike onnxruntime");
    Ok(percent >= 98.0 && different == 0)
}

/// The likeliest digit of one image.
fn classify(session: &mut Session<'_>, pixels: &[u8]) -> Result<usize, runtime_stub::Error> {
    let image: Vec<f32> = pixels.iter().copied().map(f32::from).collect();
    let mut probabilities = [0f32; DIGITS];
    session.run(&[Input::from(&image[..])], &mut [Output::from(&mut probabilities[..])])?;
    let best = (1..DIGITS).fold(0, |best, i| if probabilities[i] > probabilities[best] { i } else { best });
    Ok(best)
}
