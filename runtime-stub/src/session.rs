//! A model with the memory to run it: the part of the wrapper that most programs use. It works out named dimensions from
//! what it is given; it has no unsafe code, and knows nothing of how a call is laid out.

use crate::call::{carve, memory_bytes, place, reset};
use crate::{Error, Input, Model, Output, Side, Symbol, Tensor, Workers};

/// A symbol that nobody has fixed yet. It lies in lent memory as a plain integer; real dimensions are never negative.
const OPEN: i64 = -1;

enum Memory<'m> {
    Lent(&'m mut [u8]),
    #[cfg(feature = "std")]
    Owned(std::vec::Vec<u8>),
}

impl Memory<'_> {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Memory::Lent(bytes) => bytes,
            #[cfg(feature = "std")]
            Memory::Owned(bytes) => bytes,
        }
    }

    fn read(&self) -> &[u8] {
        match self {
            Memory::Lent(bytes) => bytes,
            #[cfg(feature = "std")]
            Memory::Owned(bytes) => bytes,
        }
    }
}

/// A model, its arena and state, and who works for it. Runs one call at a time; several sessions of one model may run at
/// the same time on different threads.
pub struct Session<'m> {
    model: Model<'m>,
    workers: Workers<'m>,
    memory: Memory<'m>,
    /// Where the symbols of the last call lie in `memory`, in bytes.
    symbols_at: usize,
}

impl<'m> Session<'m> {
    /// Bytes that [`Session::in_memory`] wants for a model and a number of workers (1 when serial), wherever they begin.
    pub fn memory_bytes(model: &Model<'_>, workers: u32) -> Result<usize, Error> {
        memory_bytes(model, workers.max(1))
    }

    /// In lent memory, of any alignment: nothing is allocated, now or later.
    /// Fault: less than [`Session::memory_bytes`]; a model whose weights are apart and not given.
    pub fn in_memory(model: Model<'m>, memory: &'m mut [u8], workers: Workers<'m>) -> Result<Session<'m>, Error> {
        Session::start(model, Memory::Lent(memory), workers)
    }

    /// In memory of its own, on the calling thread alone. Fault: there is not enough; as in [`Session::in_memory`].
    #[cfg(feature = "std")]
    pub fn new(model: Model<'m>) -> Result<Session<'m>, Error> {
        Session::with_workers(model, Workers::SERIAL)
    }

    /// In memory of its own. Faults as in [`Session::new`].
    #[cfg(feature = "std")]
    pub fn with_workers(model: Model<'m>, workers: Workers<'m>) -> Result<Session<'m>, Error> {
        let want_bytes = memory_bytes(&model, workers.count())?;
        let mut memory = std::vec::Vec::new();
        memory.try_reserve_exact(want_bytes).map_err(|_| Error::Allocation { want_bytes })?;
        memory.resize(want_bytes, 0);
        Session::start(model, Memory::Owned(memory), workers)
    }

    fn start(model: Model<'m>, mut memory: Memory<'m>, workers: Workers<'m>) -> Result<Session<'m>, Error> {
        model.weights()?;
        let base = memory.read().as_ptr().addr();
        let mut pieces = carve(&model, workers.count(), memory.bytes())?;
        pieces.bound.fill(OPEN);
        pieces.symbols.fill(OPEN);
        reset(&model, &mut pieces);
        let symbols_at = pieces.symbols.as_ptr().addr() - base;
        Ok(Session { model, workers, memory, symbols_at })
    }

    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Forgets what earlier runs left in the model's state.
    pub fn reset(&mut self) {
        let mut pieces = carve(&self.model, self.workers.count(), self.memory.bytes()).expect(FITS);
        reset(&self.model, &mut pieces);
    }

    /// Fixes a named dimension for all later runs, so that inputs need not say it. Fault: no such name, out of range.
    pub fn bind(&mut self, name: &str, value: i64) -> Result<(), Error> {
        let (at, symbol) = find(&self.model, name).ok_or(Error::NoSymbol)?;
        in_range(at, symbol, value)?;
        carve(&self.model, self.workers.count(), self.memory.bytes()).expect(FITS).bound[at] = value;
        Ok(())
    }

    /// Runs once. Dimensions of the inputs come from [`Input::shaped`], from [`Session::bind`], or, where one dimension
    /// of an input is open, from its length. Outputs must have room for the upper bounds ([`Tensor::elements`]). While a
    /// run fails, what it has written of them is unspecified.
    /// Fault: anything that does not fit the model, found before it runs where possible; a status of the model.
    pub fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<(), Error> {
        let mut pieces = carve(&self.model, self.workers.count(), self.memory.bytes()).expect(FITS);
        pieces.symbols.copy_from_slice(pieces.bound);
        let done = place(&self.model, &mut pieces, inputs, outputs).and_then(|mut call| {
            resolve(&self.model, inputs, call.symbols())?;
            // What is open now is the model's to write.
            call.symbols().iter_mut().filter(|s| **s == OPEN).for_each(|s| *s = 0);
            call.run(&self.workers)
        });
        if done.is_err() {
            pieces.symbols.fill(OPEN);
        }
        done
    }

    /// The value that a named dimension had in the last run; `None` for another name, and when that run failed.
    pub fn symbol(&self, name: &str) -> Option<i64> {
        self.value(find(&self.model, name)?.0)
    }

    /// The dimensions of an output of the last run. Fixed ones are always there, symbolic ones as in [`Session::symbol`].
    pub fn output_dims(&self, output: usize) -> impl Iterator<Item = Option<i64>> + '_ {
        let tensor = self.model.outputs().nth(output);
        let dims = tensor.map_or(&[][..], |t| t.dims());
        dims.iter().enumerate().map(move |(axis, dim)| match tensor.and_then(|t| t.symbol(axis)) {
            Some(symbol) => self.value(symbol),
            None => Some(*dim),
        })
    }

    /// How many elements of an output the last run filled; `None` when it failed or there is no such output.
    pub fn output_len(&self, output: usize) -> Option<usize> {
        self.model.outputs().nth(output)?;
        self.output_dims(output).try_fold(1usize, |n, d| n.checked_mul(usize::try_from(d?).ok()?))
    }

    fn value(&self, symbol: usize) -> Option<i64> {
        let at = self.symbols_at + symbol * size_of::<i64>();
        let bytes = self.memory.read().get(at..at + size_of::<i64>())?;
        let value = i64::from_ne_bytes(bytes.try_into().expect("eight bytes were taken"));
        (value >= 0).then_some(value)
    }
}

impl core::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").field("model", &self.model.name()).field("workers", &self.workers.count()).finish()
    }
}

const FITS: &str = "the same memory was cut when the session began";

fn find<'a>(model: &Model<'a>, name: &str) -> Option<(usize, Symbol<'a>)> {
    model.symbols().enumerate().find(|(_, s)| s.name == name)
}

fn in_range(at: usize, symbol: Symbol<'_>, value: i64) -> Result<(), Error> {
    match (symbol.min..=symbol.max).contains(&value) {
        true => Ok(()),
        false => Err(Error::Range { symbol: at, have: value, min: symbol.min, max: symbol.max }),
    }
}

fn settle(model: &Model<'_>, values: &mut [i64], at: usize, value: i64) -> Result<(), Error> {
    in_range(at, model.symbols().nth(at).expect("a tensor's symbols were checked"), value)?;
    values[at] = value;
    Ok(())
}

/// Fills in `values` what the inputs tell: first those that come with dimensions, then, until nothing more follows, those
/// of which one dimension is open.
fn resolve(model: &Model<'_>, inputs: &[Input<'_>], values: &mut [i64]) -> Result<(), Error> {
    for (index, (tensor, input)) in model.inputs().zip(inputs).enumerate() {
        if let Some(dims) = input.dims {
            from_dims(model, index, tensor, dims, input.len, values)?;
        }
    }
    let bare = || model.inputs().zip(inputs).enumerate().filter(|(_, (_, input))| input.dims.is_none());
    loop {
        let (mut progress, mut waiting) = (false, None);
        for (index, (tensor, input)) in bare() {
            match open(tensor, values) {
                (have, Open::None) if have != input.len => {
                    return Err(Error::Length { side: Side::Input, index, have: input.len, want: have });
                }
                (_, Open::None) => {}
                (known, Open::One(at)) => {
                    let fits = input.len.checked_rem(known) == Some(0);
                    let value = fits.then(|| i64::try_from(input.len / known).ok()).flatten();
                    settle(model, values, at, value.ok_or(Error::Shape { input: index, have: input.len })?)?;
                    progress = true;
                }
                (_, Open::Many) => waiting = waiting.or(Some(Error::Shape { input: index, have: input.len })),
            }
        }
        match waiting {
            Some(error) if !progress => return Err(error),
            _ if !progress => return Ok(()),
            _ => {}
        }
    }
}

enum Open {
    None,
    One(usize),
    Many,
}

/// The product of the known dimensions, and which symbol is not known.
fn open(tensor: Tensor<'_>, values: &[i64]) -> (usize, Open) {
    let (mut known, mut open) = (1usize, Open::None);
    for (axis, dim) in tensor.dims().iter().enumerate() {
        match (tensor.symbol(axis).map(|at| (at, values[at])), &open) {
            (Some((at, OPEN)), Open::None) => open = Open::One(at),
            (Some((_, OPEN)), _) => open = Open::Many,
            (Some((_, value)), _) => known = known.saturating_mul(value as usize),
            (None, _) => known = known.saturating_mul(*dim as usize),
        }
    }
    (known, open)
}

fn from_dims(model: &Model<'_>, input: usize, tensor: Tensor<'_>, dims: &[i64], len: usize, values: &mut [i64]) -> Result<(), Error> {
    let want = tensor.dims();
    if dims.len() != want.len() {
        return Err(Error::Rank { input, have: dims.len(), want: want.len() });
    }
    for (axis, have) in dims.iter().copied().enumerate() {
        match tensor.symbol(axis) {
            Some(at) if values[at] == OPEN => settle(model, values, at, have)?,
            symbol => {
                let want = symbol.map_or(want[axis], |at| values[at]);
                if have != want {
                    return Err(Error::Dimension { input, axis, have, want });
                }
            }
        }
    }
    let product = dims.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
    match product {
        Some(product) if product == len => Ok(()),
        product => {
            let want = product.unwrap_or(usize::MAX);
            Err(Error::Length { side: Side::Input, index: input, have: len, want })
        }
    }
}
