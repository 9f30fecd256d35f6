use super::{around, halo_kernel, lower};
use crate::build::Halo;
use crate::generic::harness::{Random, check, machines, random};
use ir::Dtype;
use ir::kernel::KernelBody;

/// One of every width, and types that are only moved.
const TYPES: [&str; 7] = ["f32", "f64", "f16", "u8", "bool", "i4", "f8e8m0"];

#[test]
fn transposes_of_every_type_and_order() {
    for dtype in TYPES {
        for perm in ["[0,1,2,3]", "[0,2,3,1]", "[0,3,1,2]", "[3,2,1,0]", "[1,0,3,2]"] {
            check(&format!("%x: {dtype}[2,5,7,3] = input \"x\" %y = transpose %x {{perm={perm}}}"), 0.0, lower);
        }
    }
    for shape in ["[1,3,37,41]", "[1,40,1,33]", "[2,17,16,16]", "[1,1,70,70]"] {
        for perm in ["[0,2,3,1]", "[0,3,1,2]", "[0,1,3,2]"] {
            check(&format!("%x: f32{shape} = input \"x\" %y = transpose %x {{perm={perm}}}"), 0.0, lower);
        }
    }
}

#[test]
fn slices_reshapes_and_expansions() {
    for dtype in TYPES {
        check(&format!("%x: {dtype}[5,9] = input \"x\" %y = slice %x {{start=[4,1], step=[-2,3], size=[3,3]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[5,9] = input \"c\" %y = slice %x {{start=[0,8], step=[1,-1], size=[5,9]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[4,6] = input \"x\" %y = reshape %x {{shape=[3,8]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[4,6] = input \"c\" %y = reshape %x {{shape=[2,2,6]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[3,1] = input \"x\" %y = expand %x {{shape=[2,3,20]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[5] = input \"x\" %y = expand %x {{shape=[4,5]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[] = input \"c\" %y = expand %x {{shape=[4,5]}}"), 0.0, lower);
    }
}

#[test]
fn parts_of_a_concatenation() {
    for dtype in TYPES {
        for axis in 0..3 {
            let mut shapes = [[4, 5, 6]; 3];
            (shapes[1][axis], shapes[2][axis]) = (1, 7);
            let [a, b, c] = shapes.map(|s| format!("{s:?}"));
            check(
                &format!(
                    "%a: {dtype}{a} = input \"a\" %b: {dtype}{b} = input \"c\" %c: {dtype}{c} = input \"d\" %y = concat %a, %b, %c, %b {{axis={axis}}}"
                ),
                0.0,
                lower,
            );
        }
    }
}

#[test]
fn pads_in_every_mode() {
    for dtype in TYPES {
        let literal = if dtype == "bool" { "true".into() } else { format!("0x3:{dtype}") };
        for mode in ["constant", "edge", "reflect", "wrap"] {
            for (low, high) in [("[0,1,2,0]", "[0,3,0,0]"), ("[2,0,9,1]", "[0,0,8,4]"), ("[0,0,0,0]", "[0,0,0,0]")] {
                check(
                    &format!("%x: {dtype}[2,3,4,1] = input \"x\" %y = pad %x {{low={low}, high={high}, mode={mode}, value={literal}}}"),
                    0.0,
                    lower,
                );
            }
        }
        check(&format!("%x: {dtype}[3,5] = input \"c\" %y = pad %x {{low=[1,0], high=[0,4], mode=constant, value={literal}}}"), 0.0, lower);
    }
}

#[test]
fn random_shapes_and_strides() {
    let mut dice = Random(42);
    for _ in 0..120 {
        let rank = 1 + dice.below(4) as usize;
        let shape: Vec<usize> = (0..rank).map(|_| [1, 2, 3, 4, 7, 8, 16, 19, 33][dice.below(9) as usize]).collect();
        let mut perm: Vec<usize> = (0..rank).collect();
        (1..rank).for_each(|i| perm.swap(i, dice.below(i as u64 + 1) as usize));
        let dtype = TYPES[dice.below(7) as usize];
        check(&format!("%x: {dtype}{shape:?} = input \"x\" %y = transpose %x {{perm={perm:?}}}"), 0.0, lower);
    }
}

#[test]
fn what_is_around_a_box_is_all_there_is_and_once() {
    let (shape, inner) = ([4, 5, 3], [(1, 2), (0, 4), (1, 1)]);
    let strides = [15, 3, 1];
    let mut seen = [0; 60];
    for (offset, size, strides) in around(&shape, &inner, &strides) {
        for i in 0..size.iter().product::<usize>() as i64 {
            let (a, b, c) = (i / (size[1] * size[2]) as i64, i / size[2] as i64 % size[1] as i64, i % size[2] as i64);
            seen[(offset + a * strides[0] + b * strides[1] + c * strides[2]) as usize] += 1;
        }
    }
    for (at, &count) in seen.iter().enumerate() {
        let index = [at / 15, at / 3 % 5, at % 3];
        let inside = (0..3).all(|i| (inner[i].0..inner[i].0 + inner[i].1).contains(&index[i]));
        assert_eq!(count, i32::from(!inside), "{index:?}");
    }
}

#[test]
fn halos_are_filled_and_nothing_else() {
    use ir::kernel::run::{Buffer, Pointer, run};
    for (width, fill) in [(4, 0u64), (4, 0xff80_0000), (1, 0x80), (1, 0), (2, 0), (2, 0x3c00), (8, 0), (8, 0x3ff0_0000_0000_0000)] {
        for (shape, inner) in [
            (vec![1, 9, 10, 5], vec![(0, 1), (1, 7), (2, 6), (0, 5)]),
            (vec![2, 6, 6, 8], vec![(0, 2), (0, 5), (1, 5), (0, 7)]),
            (vec![1, 40, 3], vec![(0, 1), (3, 33), (0, 3)]),
        ] {
            let halo = Halo { shape: shape.clone(), inner: inner.clone(), width, fill };
            for facts in machines() {
                let kernel = halo_kernel(&halo, &facts);
                ir::kernel::verify(&kernel, &facts).expect("it is right");
                let dtype = Dtype::ALL.iter().copied().find(|d| d.bytes() == width).expect("a width that there is");
                let before = random(dtype, &shape, &mut Random(3)).bytes().to_vec();
                let mut memory = before.clone();
                let status = run(&kernel, &facts, &mut [Buffer::Open(&mut memory)], &[Pointer { buffer: 0, offset: 0 }]);
                assert_eq!(status, 0);
                for (at, (got, old)) in memory.chunks(width).zip(before.chunks(width)).enumerate() {
                    let mut rest = at;
                    let mut inside = true;
                    for axis in (0..shape.len()).rev() {
                        inside &= (inner[axis].0..inner[axis].0 + inner[axis].1).contains(&(rest % shape[axis]));
                        rest /= shape[axis];
                    }
                    let bits = fill.to_le_bytes();
                    assert_eq!(got, if inside { old } else { &bits[..width] }, "at {at}");
                }
            }
        }
    }
}

#[test]
fn what_models_copy_goes_by_vectors() {
    let facts = &machines()[1];
    let vector = |width: usize, shape: &[usize], from: &[i64], to: &[i64]| {
        matches!(super::copy_kernel(facts, width, shape, from, to).body, KernelBody::Tile(_))
    };
    // a transpose to channels last and back, a part of a concatenation, bytes in runs of four, f64
    assert!(vector(4, &[224, 224, 3], &[224, 1, 50176], &[672, 3, 1]));
    assert!(vector(4, &[64, 56, 56], &[1, 3584, 64], &[3136, 56, 1]));
    assert!(vector(4, &[100, 24], &[24, 1], &[40, 1]));
    assert!(vector(1, &[100, 24], &[24, 1], &[40, 1]));
    assert!(vector(8, &[10, 24], &[24, 1], &[40, 1]));
    // planes far apart
    assert!(vector(4, &[2, 4000, 3000, 3], &[36_000_000, 3000, 1, 12_000_000], &[36_000_000, 9000, 3, 1]));
    // runs of bytes that are no multiple of four
    assert!(vector(1, &[100, 7], &[7, 1], &[9, 1]));
    assert!(vector(2, &[100, 33], &[33, 1], &[35, 1]));
    assert!(vector(1, &[100, 3], &[3, 1], &[7, 1]));
    assert!(!vector(1, &[100, 3], &[1, 100], &[3, 1]));
}
