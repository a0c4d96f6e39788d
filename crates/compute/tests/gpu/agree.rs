use roundwise_compute::{ComputeError, Device, Engine, Gaussian, Matrix};

use crate::operations::{Operation, Precision, operations};

/// `f32` sums of up to some hundred products in any order, over the largest value: each rounds by 6e-8.
const SUMMED: f32 = 2e-5;
/// Factors of products as TF32, with 10 bits after the point, which CUDA may take.
const SUMMED_TF32: f32 = 4e-3;
/// A multiplication and an addition, or both at once.
const ROUNDED: f32 = 4e-7;
/// How much further than a sum what follows from several products may be off.
const STEPS: f32 = 10.0;

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

fn tolerance(device: Device, precision: Precision) -> f32 {
    let summed = match device {
        Device::Cuda(_) => SUMMED_TF32,
        Device::Auto | Device::Cpu | Device::NdArray | Device::Vulkan(_) | Device::Metal(_) => {
            SUMMED
        }
    };
    match precision {
        Precision::Exact => 0.0,
        Precision::Rounded => ROUNDED,
        Precision::Summed => summed,
        Precision::Iterated => STEPS * summed,
    }
}

fn computed(engine: &Engine, operation: &Operation) -> Matrix {
    let operands = operation.operands.iter().map(|operand| engine.upload(operand.clone()));
    let operands: Vec<_> = operands.collect();
    (operation.compute)(engine, &operands).download()
}

/// Returns the largest difference over the largest value.
fn difference(found: &Matrix, expected: &Matrix) -> f32 {
    assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()));
    let largest = expected.values().iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let pairs = found.values().iter().zip(expected.values());
    let differences = pairs.map(|(found, expected)| match (found - expected).abs() {
        // `max` would pass over it.
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    });
    differences.fold(0.0, f32::max) / largest.max(f32::MIN_POSITIVE)
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
