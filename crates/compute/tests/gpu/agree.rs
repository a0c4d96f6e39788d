use roundwise_compute::{ComputeError, Device, Engine, Gaussian, Matrix, Venue};

use crate::compare::{computed, difference, tolerance};
use crate::operations::{Precision, operations};

/// What is computed of larger matrices too.
const LARGE: [&str; 6] = [
    "product",
    "product, left turned",
    "product, right turned",
    "rows of a matrix",
    "sum, scaled",
    "squared norm",
];

/// Returns an engine of each library that can be used here, and says which cannot.
fn engines() -> Vec<Engine> {
    let devices = [Device::Cuda(0), Device::Vulkan(0), Device::Metal(0)];
    let open = |device: Device| match device.resolve() {
        Ok(engine) => Some(engine),
        Err(ComputeError::NotBuilt { .. } | ComputeError::WrongSystem { .. }) => None,
        Err(error) => {
            eprintln!("not run: {error}");
            None
        }
    };
    devices.into_iter().filter_map(open).collect()
}

#[test]
fn every_operation_gives_what_the_cpu_gives() {
    let cpu = Device::Cpu.resolve().unwrap();
    for engine in engines() {
        // Within a block of a kernel, and several of them; neither fits. Kernels are compiled for each
        // size and kind of product, seconds each on a CPU, so that the larger size is of some operations alone.
        for [rows, inner, cols] in [[61, 53, 59], [130, 257, 70]] {
            let is_small = inner < 64;
            let chosen = operations(rows, inner, cols).into_iter();
            for operation in chosen.filter(|it| is_small || LARGE.contains(&it.name)) {
                let found = computed(&engine, &operation);
                let off = difference(&found, &computed(&cpu, &operation));
                let allowed = tolerance(engine.device(), operation.precision);
                let name = operation.name;
                assert!(
                    off <= allowed,
                    "{}: {name}, {rows} × {inner} × {cols}: off by {off:e}, {allowed:e} allowed",
                    engine.device(),
                );
            }
        }
    }
}

#[test]
fn an_empty_matrix_comes_back() {
    for engine in engines() {
        for [rows, cols] in [[0, 3], [3, 0], [0, 0]] {
            let empty = Matrix::zeros(rows, cols);
            assert_eq!(engine.upload(empty.clone()).download(), empty);
        }
    }
}

#[test]
fn threads_that_share_a_device_do_not_mix_their_matrices() {
    let cpu = Device::Cpu.resolve().unwrap();
    for engine in engines() {
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (engine, cpu) = (&engine, &cpu);
                scope.spawn(move || {
                    for round in 0..8 {
                        let matrix = Gaussian::new(seed + 4 * round).matrix(61, 61);
                        let squared = |engine: &Engine| {
                            let matrix = engine.upload(matrix.clone());
                            matrix.multiply(&matrix).add_scaled(0.5, &matrix).download()
                        };
                        let off = difference(&squared(engine), &squared(cpu));
                        assert!(off <= tolerance(engine.device(), Precision::Summed), "{off:e}");
                    }
                });
            }
        });
    }
}

/// 144 MB, which is more than Vulkan promises of one buffer and than Mesa's driver for CPUs offers.
#[test]
fn a_matrix_that_is_too_large_for_a_device_leaves_it_usable() {
    const SIDE: usize = 6000;
    for engine in engines() {
        let matrix = Matrix::new(SIDE, SIDE, vec![0.5; SIDE * SIDE]).unwrap();
        let expected = Matrix::new(SIDE, 1, vec![0.5 * SIDE as f32; SIDE]).unwrap();
        let sums = engine.attempt(|| {
            let ones = engine.upload(Matrix::from_fn(SIDE, 1, |_, _| 1.0));
            engine.upload(matrix).multiply(&ones).download()
        });
        match sums {
            Ok(found) => {
                let off = difference(&found, &expected);
                assert!(off <= tolerance(engine.device(), Precision::Summed), "{off:e}");
            }
            Err(ComputeError::TooLarge { bytes, most_bytes, .. }) => assert!(bytes > most_bytes),
            Err(error) => panic!("{error}"),
        }
        let two = engine.upload(Matrix::from_fn(2, 2, |_, _| 2.0));
        let square = engine.attempt(|| two.multiply(&two).download());
        assert_eq!(square, Ok(Matrix::from_fn(2, 2, |_, _| 8.0)));
    }
}

#[test]
fn a_device_that_has_failed_is_not_asked_again() {
    for engine in engines() {
        let failed = engine.attempt(|| panic!("out of memory"));
        let reason = "out of memory".to_owned();
        let device = engine.device();
        assert_eq!(failed, Err::<(), _>(ComputeError::Unusable { device, reason }));
        assert_eq!(engine.clone().attempt(|| 1), Err(ComputeError::Lost { device }));
        // Opened anew, it is asked.
        assert_eq!(device.resolve().unwrap().attempt(|| 1), Ok(1));
    }
    let cpu = Device::Cpu.resolve().unwrap();
    assert_eq!(cpu.attempt(|| 1), Ok(1));
}

#[test]
fn what_is_moved_is_counted_alike_on_every_device() {
    let count = |engine: &Engine| {
        let before = engine.usage();
        let matrix = engine.upload(Gaussian::new(1).matrix(8, 4));
        let product = matrix.gram().changed(|values| values.fill(1.0));
        let _norm = product.squared_norm();
        let _first = product.row_block(0..1).read(|values| values[0]);
        let _values = product.download();
        engine.usage().since(before)
    };
    let expected = count(&Device::Cpu.resolve().unwrap());
    assert_eq!(expected.uploaded_bytes, 4 * (32 + 64));
    assert_eq!(expected.downloaded_bytes, 4 * (64 + 1 + 8 + 64));
    assert_eq!(expected.synchronisations, 4);
    assert_eq!(expected.product_operations, 2 * 8 * 4 * 8);
    engines().iter().for_each(|engine| assert_eq!(count(engine), expected));
}

#[test]
fn what_a_device_has_no_room_for_is_computed_there_in_tiles() {
    let cpu = Device::Cpu.resolve().unwrap();
    let chosen = |name| name == "product" || name == "product added to rows";
    for engine in engines() {
        // 25 KB of operands and product.
        for operation in operations(61, 53, 59).into_iter().filter(|it| chosen(it.name)) {
            let expected = computed(&cpu, &operation);
            let engine = engine.limited(30_000);
            let found = engine.run(|engine| Ok::<_, ComputeError>(computed(engine, &operation)));
            let (found, venue) = found.unwrap();
            assert!(matches!(venue, Venue::Tiles(ComputeError::NoRoom { .. })), "{venue:?}");
            let allowed = tolerance(engine.device(), operation.precision);
            assert!(difference(&found, &expected) <= allowed, "{}", operation.name);
        }
    }
}

#[test]
fn what_a_device_fails_of_is_computed_on_the_cpu() {
    for engine in engines() {
        let device = engine.device();
        let mut failures = 1;
        let mut product = |engine: &Engine| {
            let two = engine.upload(Matrix::from_fn(2, 2, |_, _| 2.0));
            let four = two.multiply(&two).download();
            if engine.device().is_gpu() && failures > 0 {
                failures -= 1;
                panic!("the device is gone");
            }
            Ok::<_, ComputeError>(four)
        };
        let eight = Matrix::from_fn(2, 2, |_, _| 8.0);
        let reason = "the device is gone".to_owned();
        let failed = Venue::Cpu(ComputeError::Unusable { device, reason });
        assert_eq!(engine.run(&mut product), Ok((eight.clone(), failed)));
        let lost = Venue::Cpu(ComputeError::Lost { device });
        assert_eq!(engine.run(&mut product), Ok((eight, lost)));
    }
}
