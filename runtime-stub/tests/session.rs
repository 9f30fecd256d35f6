//! The safe wrapper against a model whose `run` is Rust: what goes in and comes out, and every way to call it wrongly.
#![allow(unsafe_code, clippy::unwrap_used)]

mod fake;

use core::error::Error as _;
use fake::{BAD_DATA, UNKNOWN, model, with};
use runtime_stub::{
    DType, Error, Input, MaquetteModel, MaquetteSymbol, MaquetteTensor, Model, Output, Pool, Session, Side, Status, Workers,
};

#[derive(Debug, Default, PartialEq)]
struct Out {
    sums: [f32; 4],
    not: [bool; 3],
    chosen: [u16; 3],
    runs: [i64; 1],
}

fn run(session: &mut Session<'_>, rows: Input<'_>, mask: &[bool]) -> Result<Out, Error> {
    let mut out = Out::default();
    let outputs = &mut [
        Output::from(&mut out.sums[..]),
        Output::from(&mut out.not[..]),
        Output::from(&mut out.chosen[..]),
        Output::from(&mut out.runs[..]),
    ];
    session.run(&[rows, Input::from(mask)], outputs)?;
    Ok(out)
}

fn session() -> Session<'static> {
    Session::new(model()).unwrap()
}

const MASK: [bool; 3] = [false, true, true];

#[test]
fn tells_what_the_model_is() {
    let model = model();
    assert_eq!((model.name(), model.target(), model.compiler()), ("fake", "x86_64-linux, x86-64-v3", "none 0"));
    assert_eq!(model.cpu(), fake::CPU);
    assert_eq!((model.arena_bytes(), model.arena_align()), (96, 64));
    assert_eq!((model.worker_bytes(), model.state_bytes(), model.weights_bytes()), (32, 8, 0));
    let inputs: Vec<_> = model.inputs().map(|t| (t.name(), t.dtype(), t.dims(), t.symbol(0), t.symbol(1))).collect();
    assert_eq!(inputs[0], ("rows", DType::F32, &[4, 3][..], Some(0), None));
    assert_eq!(inputs[1], ("mask", DType::Bool, &[3][..], None, None));
    let outputs: Vec<_> = model.outputs().map(|t| (t.name(), t.dtype(), t.elements(), t.bytes())).collect();
    assert_eq!(outputs[2], ("chosen", DType::F16, 3, 6));
    assert_eq!(outputs[3], ("runs", DType::I64, 1, 8));
    let symbols: Vec<_> = model.symbols().map(|s| (s.name, s.min, s.max)).collect();
    assert_eq!(symbols, [("batch", 1, 4), ("n", 0, 3)]);
}

#[test]
fn gives_the_answer_and_the_symbols_that_came_out() {
    let mut session = session();
    assert_eq!(session.symbol("batch"), None);
    assert_eq!(session.output_len(0), None);
    let rows = [1.0f32, 2.0, 3.0, 10.0, 20.0, 30.0];
    let out = run(&mut session, Input::from(&rows[..]), &MASK).unwrap();
    assert_eq!(out.sums, [6.0, 60.0, 0.0, 0.0]);
    assert_eq!(out.not, [true, false, false]);
    assert_eq!(out.chosen, [0x3c01, 0x3c02, 0]);
    assert_eq!((session.symbol("batch"), session.symbol("n"), session.symbol("m")), (Some(2), Some(2), None));
    assert_eq!(session.output_dims(2).collect::<Vec<_>>(), [Some(2)]);
    assert_eq!((0..5).map(|i| session.output_len(i)).collect::<Vec<_>>(), [Some(2), Some(3), Some(2), Some(1), None]);
}

#[test]
fn keeps_state_from_run_to_run_until_reset() {
    let mut session = session();
    let rows = [0.0f32; 3];
    for want in 1..4 {
        assert_eq!(run(&mut session, Input::from(&rows[..]), &MASK).unwrap().runs, [want]);
    }
    session.reset();
    assert_eq!(run(&mut session, Input::from(&rows[..]), &MASK).unwrap().runs, [1]);
}

#[test]
fn runs_in_lent_memory_of_any_alignment() {
    let (model, rows) = (model(), [1.0f32; 12]);
    let need = Session::memory_bytes(&model, 1).unwrap();
    let mut memory = vec![0xeeu8; need + 64];
    for offset in 0..64 {
        let lent = &mut memory[offset..offset + need];
        let mut session = Session::in_memory(model, lent, Workers::SERIAL).unwrap();
        assert_eq!(run(&mut session, Input::from(&rows[..]), &MASK).unwrap().sums, [3.0; 4]);
        assert_eq!(run(&mut session, Input::from(&rows[..]), &MASK).unwrap().runs, [2]);
    }
    assert!(memory[need + 63..].iter().all(|b| *b == 0xee), "nothing is written behind what was lent");
    let short = &mut memory[..need - 1];
    let error = Session::in_memory(model, short, Workers::SERIAL).unwrap_err();
    assert_eq!(error, Error::Memory { have_bytes: need - 1, want_bytes: need });
}

#[test]
fn asks_more_memory_for_more_workers() {
    let model = model();
    let [none, one, four] = [0, 1, 4].map(|w| Session::memory_bytes(&model, w).unwrap());
    assert_eq!((none, four), (one, one + 3 * 32));
}

#[test]
fn runs_on_a_pool() {
    let pool = Pool::new(3).unwrap();
    let mut session = Session::with_workers(model(), pool.workers()).unwrap();
    let rows: [f32; 12] = core::array::from_fn(|i| i as f32);
    for _ in 0..1000 {
        assert_eq!(run(&mut session, Input::from(&rows[..]), &MASK).unwrap().sums, [3.0, 12.0, 21.0, 30.0]);
    }
}

#[test]
fn takes_dimensions_as_given_bound_or_from_the_length() {
    let rows = [1.0f32; 12];
    let mut session = session();
    assert!(run(&mut session, Input::shaped(&rows[..9], &[3, 3]), &MASK).is_ok());
    assert_eq!(session.symbol("batch"), Some(3));
    assert!(run(&mut session, Input::from(&rows[..9]).with_dims(&[3, 3]), &MASK).is_ok());
    session.bind("batch", 2).unwrap();
    assert!(run(&mut session, Input::from(&rows[..6]), &MASK).is_ok());
    assert_eq!(session.symbol("batch"), Some(2));
    let length = Error::Length { side: Side::Input, index: 0, have: 9, want: 6 };
    assert_eq!(run(&mut session, Input::from(&rows[..9]), &MASK), Err(length));
    let dimension = Error::Dimension { input: 0, axis: 0, have: 3, want: 2 };
    assert_eq!(run(&mut session, Input::shaped(&rows[..9], &[3, 3]), &MASK), Err(dimension));
    assert_eq!(session.symbol("batch"), None, "a failed run leaves no symbols");
}

#[test]
fn refuses_what_does_not_fit_before_it_runs() {
    let rows = [1.0f32; 18];
    let mut session = session();
    let mut wrong = |input: Input<'_>, mask: &[bool]| run(&mut session, input, mask).unwrap_err();
    let length = |index, have, want| Error::Length { side: Side::Input, index, have, want };
    assert_eq!(wrong(Input::from(&rows[..4]), &MASK), Error::Shape { input: 0, have: 4 });
    assert_eq!(wrong(Input::from(&rows[..15]), &MASK), Error::Range { symbol: 0, have: 5, min: 1, max: 4 });
    assert_eq!(wrong(Input::from(&rows[..0]), &MASK), Error::Range { symbol: 0, have: 0, min: 1, max: 4 });
    assert_eq!(wrong(Input::shaped(&rows[..3], &[3]), &MASK), Error::Rank { input: 0, have: 1, want: 2 });
    let dimension = Error::Dimension { input: 0, axis: 1, have: 2, want: 3 };
    assert_eq!(wrong(Input::shaped(&rows[..6], &[3, 2]), &MASK), dimension);
    assert_eq!(wrong(Input::shaped(&rows[..9], &[2, 3]), &MASK), length(0, 9, 6));
    assert_eq!(wrong(Input::shaped(&rows[..3], &[-1, 3]), &MASK), Error::Range { symbol: 0, have: -1, min: 1, max: 4 });
    assert_eq!(wrong(Input::from(&rows[..3]), &MASK[..2]), length(1, 2, 3));
    let ints = [1i32; 3];
    let error = wrong(Input::from(&ints[..]), &MASK);
    assert_eq!(error, Error::Type { side: Side::Input, index: 0, have: DType::I32, want: DType::F32 });
    assert_eq!(error.to_string(), "input 0 is i32, the model wants f32");
    assert_eq!(session.bind("batch", 5), Err(Error::Range { symbol: 0, have: 5, min: 1, max: 4 }));
    assert_eq!(session.bind("seq", 1), Err(Error::NoSymbol));
}

#[test]
fn refuses_wrong_numbers_and_outputs() {
    let (rows, mut session) = ([1.0f32; 3], session());
    let (mut sums, mut not, mut chosen, mut runs) = ([0f32; 4], [false; 3], [0u16; 3], [0i64; 1]);
    let inputs = [Input::from(&rows[..]), Input::from(&MASK[..])];
    let few = session.run(&inputs[..1], &mut []).unwrap_err();
    assert_eq!(few, Error::Count { side: Side::Input, have: 1, want: 2 });
    let none = session.run(&inputs, &mut []).unwrap_err();
    assert_eq!(none, Error::Count { side: Side::Output, have: 0, want: 4 });
    let mut with = |sums: &mut [f32], not: Output<'_>| {
        let outputs = &mut [sums.into(), not, Output::from(&mut chosen[..]), Output::from(&mut runs[..])];
        session.run(&inputs, outputs)
    };
    let short = with(&mut sums[..3], Output::from(&mut not[..])).unwrap_err();
    assert_eq!(short, Error::Length { side: Side::Output, index: 0, have: 3, want: 4 });
    let other = with(&mut sums, Output::from(&mut [0u8; 3][..])).unwrap_err();
    assert_eq!(other, Error::Type { side: Side::Output, index: 1, have: DType::U8, want: DType::Bool });
    let mut bits = [7u8; 3];
    with(&mut sums, Output::bytes(&mut bits, DType::Bool)).unwrap();
    assert_eq!(bits, [1, 0, 0]);
}

#[test]
fn takes_raw_bytes_where_they_are_aligned() {
    let mut session = session();
    let mut room = [0u8; 12 + 8];
    let start = room.as_ptr().align_offset(4);
    room[start..start + 12].copy_from_slice(&[1f32, 2.0, 4.0].map(f32::to_ne_bytes).concat());
    let out = run(&mut session, Input::bytes(&room[start..start + 12], DType::F32), &MASK).unwrap();
    assert_eq!(out.sums[0], 7.0);
    let error = run(&mut session, Input::bytes(&room[start + 1..start + 13], DType::F32), &MASK).unwrap_err();
    assert_eq!(error, Error::Misaligned { side: Side::Input, index: 0 });
}

#[test]
fn passes_on_what_the_model_returns() {
    let mut session = session();
    let error = run(&mut session, Input::from(&[BAD_DATA, 0.0, 0.0][..]), &MASK).unwrap_err();
    assert_eq!(error, Error::Status(Status::Data));
    assert!(error.source().is_some());
    assert!(error.to_string().starts_with("status 4: "), "{error}");
    let error = run(&mut session, Input::from(&[UNKNOWN, 0.0, 0.0][..]), &MASK).unwrap_err();
    assert_eq!(error, Error::UnknownStatus(77));
    assert!(error.source().is_none());
    assert!(run(&mut session, Input::from(&[0.0f32; 3][..]), &MASK).is_ok(), "a session outlives a failed run");
}

#[test]
fn statuses_and_element_types_have_the_numbers_of_the_abi() {
    assert_eq!([1, 2, 3, 4, 5].map(Status::of), Status::ALL.map(Some));
    assert_eq!([-1, 0, 6].map(Status::of), [None; 3]);
    // Types that cannot cross: undefined, string, complex64, complex128, and numbers that ONNX has not given out.
    let holes: Vec<i32> = (-1..30).filter(|n| DType::of(*n).is_none()).collect();
    assert_eq!(holes, [-1, 0, 8, 14, 15, 27, 28, 29]);
    for dtype in DType::ALL {
        assert_eq!(DType::of(*dtype as i32), Some(*dtype));
    }
}

#[test]
fn slices_stand_for_the_types_that_rust_lacks() {
    let carried = |bits: u32| DType::ALL.iter().filter(|d| d.bytes() * 8 == bits as usize).count();
    assert_eq!(carried(8), <u8 as runtime_stub::Element>::CARRIES.len() + <i8 as runtime_stub::Element>::CARRIES.len() + 1);
    assert_eq!(carried(16), <u16 as runtime_stub::Element>::CARRIES.len() + 1);
}

fn fault(spoil: impl FnOnce(&mut MaquetteModel)) -> Error {
    // SAFETY: every spoilt descriptor is one that is refused before its wrong part is followed.
    unsafe { Model::new(with(spoil)) }.unwrap_err()
}

fn spoil_input(spoil: impl FnOnce(&mut MaquetteTensor)) -> Error {
    fault(|m| {
        // SAFETY: the fake's inputs are a leaked list of two.
        let mut list = unsafe { core::slice::from_raw_parts(m.inputs, 2) }.to_vec();
        spoil(&mut list[0]);
        m.inputs = Box::leak(list.into_boxed_slice()).as_ptr();
    })
}

#[test]
fn refuses_descriptors_that_are_not_sound() {
    assert_eq!(fault(|m| m.abi = 2), Error::Abi { found: 2 });
    let faults = [
        fault(|m| m.name = core::ptr::null()),
        fault(|m| m.target = c"\xff".as_ptr()),
        fault(|m| m.compiler = core::ptr::null()),
        fault(|m| m.inputs = core::ptr::null()),
        fault(|m| m.outputs = core::ptr::null()),
        fault(|m| m.symbols = core::ptr::null()),
        fault(|m| m.symbol_count = 1),
        fault(|m| m.arena_align = 48),
        fault(|m| m.arena_align = 0),
        fault(|m| m.reset = None),
        fault(|m| m.run = None),
        fault(|m| m.cpu = None),
        fault(|m| {
            let wrong = vec![MaquetteSymbol { name: c"batch".as_ptr(), min: 3, max: 2 }; 2];
            m.symbols = Box::leak(wrong.into_boxed_slice()).as_ptr();
        }),
        spoil_input(|t| t.name = core::ptr::null()),
        spoil_input(|t| t.dtype = 8),
        spoil_input(|t| t.rank = -1),
        spoil_input(|t| t.dims = core::ptr::null()),
        spoil_input(|t| t.bytes += 1),
        spoil_input(|t| t.symbols = Box::leak(Box::new([2, -1])).as_ptr()),
        spoil_input(|t| t.symbols = Box::leak(Box::new([-2, -1])).as_ptr()),
        spoil_input(|t| t.dims = Box::leak(Box::new([-4, -3])).as_ptr()),
        spoil_input(|t| t.dims = Box::leak(Box::new([i64::MAX, 3])).as_ptr()),
    ];
    let mut texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.iter().all(|f| matches!(f, Error::Descriptor(_))), "{texts:?}");
    texts.sort();
    texts.dedup();
    assert!(texts.len() >= 15, "messages tell apart what is wrong: {texts:?}");
    // SAFETY: sizes beyond all memory are refused before anything runs.
    let huge = unsafe { Model::new(with(|m| m.worker_bytes = u64::MAX / 2)) }.unwrap();
    assert!(matches!(Session::memory_bytes(&huge, 4), Err(Error::Descriptor(_))));
    assert!(matches!(Session::new(huge), Err(Error::Allocation { .. })));
}

#[repr(C, align(64))]
struct Aligned([u8; 64]);

#[test]
fn wants_weights_of_the_right_size_and_alignment() {
    static BYTES: Aligned = Aligned([0; 64]);
    // SAFETY: a sound descriptor; it is not run.
    let bare = unsafe { Model::new(with(|m| m.weights_bytes = 32)) }.unwrap();
    assert_eq!(Session::new(bare).unwrap_err(), Error::NoWeights { want_bytes: 32 });
    // SAFETY: the fake reads no weights.
    let give = |bytes| unsafe { bare.with_weights(bytes) };
    let size = Error::Weights { have_bytes: 31, want_bytes: 32, aligned: true };
    assert_eq!(give(&BYTES.0[..31]).unwrap_err(), size);
    let place = Error::Weights { have_bytes: 32, want_bytes: 32, aligned: false };
    assert_eq!(give(&BYTES.0[1..33]).unwrap_err(), place);
    assert!(Session::new(give(&BYTES.0[..32]).unwrap()).is_ok());
}
