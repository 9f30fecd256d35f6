//! Runs single kernels on this machine: compiles them into a shared object, loads it, and times calls.
#![allow(unsafe_code)]

use artifact::{Code, Machine, System};
use ir::kernel::tile::{Binary, Dot4, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Facts, Kernel, KernelBody};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
}

type P8 = *mut u8;

/// Libraries loaded so far.
static LOADED: AtomicU32 = AtomicU32::new(0);

/// Pointers that a kernel takes at most here.
const MOST: usize = 16;

/// A loaded kernel. It is unloaded when it is dropped.
pub struct Loaded {
    library: *mut c_void,
    function: *mut c_void,
    args: usize,
    path: std::path::PathBuf,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: the handle came from dlopen and is closed once; no call can follow
        unsafe { dlclose(self.library) };
        // a file that is gone is gone
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Loaded {
    /// Compiles a tile kernel for `facts` and loads it. Fault: more than sixteen pointers, or a step of it failed; the text says which.
    pub fn tile(name: &str, kernel: &TileKernel, args: usize, facts: &Facts) -> Result<Loaded, String> {
        if args > MOST {
            return Err(format!("{name} takes {args} pointers, {MOST} at most can be handed over"));
        }
        let symbol = x64::function(name, x64::compile(kernel, args, facts)).global();
        let code = Code { machine: Machine::X86_64, system: System::Linux, symbols: vec![symbol] };
        // the dynamic loader takes equal names for one library
        let soname = format!("maquette-bench-{}-{}.so", std::process::id(), LOADED.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&soname);
        let mut bytes = Vec::new();
        artifact::shared_object(&code, &soname, &mut bytes).map_err(|e| e.to_string())?;
        std::fs::write(&path, bytes).map_err(|e| e.to_string())?;
        let c_path = CString::new(path.to_string_lossy().as_bytes()).map_err(|e| e.to_string())?;
        let c_name = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: both texts end with a zero; what is loaded is what was just written, without initialisers
        let (library, function) = unsafe {
            let library = dlopen(c_path.as_ptr(), 2);
            if library.is_null() {
                return Err(format!("{name} does not load"));
            }
            (library, dlsym(library, c_name.as_ptr()))
        };
        let loaded = Loaded { library, function, args, path };
        if function.is_null() { Err(format!("{name} is not in its library")) } else { Ok(loaded) }
    }

    /// As [`Loaded::tile`], for a kernel of a program.
    pub fn kernel(kernel: &Kernel, facts: &Facts) -> Result<Loaded, String> {
        match &kernel.body {
            KernelBody::Tile(tile) => Loaded::tile(&kernel.name, tile, kernel.args.len(), facts),
            KernelBody::Scalar(_) => Err(format!("{} is not a tile kernel", kernel.name)),
        }
    }

    /// Calls it.
    ///
    /// # Safety
    /// The pointers reach what the kernel's arguments say.
    pub unsafe fn call(&self, pointers: &[*mut u8]) {
        assert_eq!(pointers.len(), self.args, "pointers of the kernel");
        let p = |i: usize| pointers.get(i).copied().unwrap_or(std::ptr::null_mut());
        type Six = unsafe extern "C" fn(P8, P8, P8, P8, P8, P8);
        type Sixteen = unsafe extern "C" fn(P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8, P8);
        // SAFETY: a kernel ignores the pointers that it has no argument for, six in registers and the others on the caller's stack;
        // `tile` refused one with more than sixteen
        unsafe {
            if self.args <= 6 {
                let function: Six = std::mem::transmute(self.function);
                function(p(0), p(1), p(2), p(3), p(4), p(5));
            } else {
                let function: Sixteen = std::mem::transmute(self.function);
                function(p(0), p(1), p(2), p(3), p(4), p(5), p(6), p(7), p(8), p(9), p(10), p(11), p(12), p(13), p(14), p(15));
            }
        }
    }

    /// Seconds of one call, the smallest and the median of `samples` samples of about `seconds` each.
    ///
    /// # Safety
    /// As for [`Loaded::call`].
    pub unsafe fn time(&self, pointers: &[*mut u8], samples: usize, seconds: f64) -> (f64, f64) {
        // SAFETY: the caller's promise
        let once = |n: usize| unsafe {
            let start = Instant::now();
            for _ in 0..n {
                self.call(pointers);
            }
            start.elapsed().as_secs_f64() / n as f64
        };
        let calls = ((seconds / once(3)) as usize).max(1);
        let mut all: Vec<f64> = (0..samples).map(|_| once(calls)).collect();
        all.sort_by(f64::total_cmp);
        (all[0], all[samples / 2])
    }
}

/// GFLOP/s of nothing but f32 multiply-adds on independent registers: the most that one core can do at this level.
pub fn peak(facts: &Facts) -> Result<f64, String> {
    let one = |acc, factor, _| vec![Stmt::MulAdd { acc, a: factor, b: Operand::V(factor), negate: false }];
    Ok(2.0 * rate(facts, &one)?)
}

/// The same for sums of products of bytes in Gop/s, an addition and a multiplication each: four products at once where there
/// is such an instruction, else by pairs.
pub fn peak_of_bytes(facts: &Facts) -> Result<f64, String> {
    let at_once = |acc, factor, _| vec![Stmt::Dot4 { kind: Dot4::U8S8, acc, a: factor, b: Operand::V(factor) }];
    let binary = |op, to, a, b| Stmt::Binary { op, to, a, b: Operand::V(b) };
    let by_pairs = |acc, factor, temp| {
        let widened = binary(Binary::Pair16, temp, temp, factor);
        vec![binary(Binary::PairSat, temp, factor, factor), widened, binary(Binary::IAdd, acc, acc, temp)]
    };
    Ok(8.0 * if facts.menu.dot4_u8s8 { rate(facts, &at_once)? } else { rate(facts, &by_pairs)? })
}

/// Billions of lanes per second that `one` does, which adds to a register by a factor and perhaps with a temporary.
fn rate(facts: &Facts, one: &dyn Fn(V, V, V) -> Vec<Stmt>) -> Result<f64, String> {
    let (sums, times) = (if facts.vectors > 16 { 24 } else { 12 }, 100_000u32);
    let (factor, temps) = (V(facts.vectors - 1), [V(facts.vectors - 2), V(facts.vectors - 3), V(facts.vectors - 4)]);
    let used = (0..sums).map(V).chain([factor]).chain(temps);
    let mut body: Vec<Stmt> = used.map(|to| Stmt::Set { to, bits: 0 }).collect();
    let products = (0..sums).flat_map(|v| one(V(v), factor, temps[v as usize % temps.len()])).collect();
    body.push(Stmt::Loop { times, body: products });
    body.extend((0..sums).map(|v| Stmt::Store { from: V(v), at: ir::kernel::tile::At { p: P(0), offset: 0 }, lanes: facts.lanes() as u8 }));
    let loaded = Loaded::tile("peak", &TileKernel { body }, 1, facts)?;
    let mut out = [0u8; 64];
    // SAFETY: the kernel stores one vector, of 64 bytes at most
    let (best, _) = unsafe { loaded.time(&[out.as_mut_ptr()], 15, 0.002) };
    Ok(f64::from(times) * f64::from(sums) * facts.lanes() as f64 / best / 1e9)
}

/// Memory aligned to a page. It is full of ones (as f32), so that it is really there and no arithmetic on it meets the
/// denormal numbers that some processors are slow with.
pub struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

impl Memory {
    pub fn new(len: usize) -> Memory {
        let mut bytes = vec![0u8; len + 8192];
        let start = bytes.as_ptr().align_offset(4096);
        bytes[start..].chunks_exact_mut(4).for_each(|four| four.copy_from_slice(&1f32.to_le_bytes()));
        Memory { bytes, start }
    }
    pub fn of(data: &[u8]) -> Memory {
        let mut memory = Memory::new(data.len());
        let start = memory.start;
        memory.bytes[start..start + data.len()].copy_from_slice(data);
        memory
    }
    pub fn pointer(&mut self) -> *mut u8 {
        self.bytes[self.start..].as_mut_ptr()
    }
    pub fn i32(&self, i: usize) -> i32 {
        let at = self.start + 4 * i;
        i32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }
    pub fn f32(&self, i: usize) -> f32 {
        let at = self.start + 4 * i;
        f32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }
}

/// The levels that this machine runs.
pub fn levels() -> Vec<&'static Facts> {
    let v3 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
    let v4 = v3
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl");
    let vnni = v4 && std::is_x86_feature_detected!("avx512vnni") && std::is_x86_feature_detected!("avx512vbmi");
    let runs = |facts: &Facts| match (facts.vector_bytes, facts.menu.dot4_u8s8) {
        (64, true) => vnni,
        (64, false) => v4,
        _ => v3,
    };
    x64::facts::LEVELS.iter().map(|l| l.facts).filter(|f| runs(f)).collect()
}
