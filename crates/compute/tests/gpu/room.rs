use roundwise_compute::{ComputeError, Device, Engine, Matrix, Venue};

use crate::compare::{computed, difference, tolerance};
use crate::operations::operations;

/// Limits are those of an engine, whatever computes.
fn hosts() -> [Engine; 2] {
    [Device::Cpu, Device::NdArray].map(|device| device.resolve().unwrap())
}

#[test]
fn every_operation_in_tiles_gives_what_it_gives_whole() {
    for engine in hosts() {
        // Tiles of some values, of more, and of as many as there are.
        for room_bytes in [2_000, 20_000, u64::MAX] {
            let in_tiles = engine.limited(room_bytes).in_tiles();
            for operation in operations(41, 53, 37) {
                let off =
                    difference(&computed(&in_tiles, &operation), &computed(&engine, &operation));
                let allowed = tolerance(engine.device(), operation.precision);
                let name = operation.name;
                assert!(off <= allowed, "{name}, {room_bytes} bytes: off by {off:e}");
            }
        }
    }
}

#[test]
fn a_matrix_that_finds_no_room_leaves_the_others_usable() {
    for engine in hosts() {
        let engine = engine.limited(1000);
        let device = engine.device();
        let hundred = || engine.upload(Matrix::from_fn(10, 10, |_, _| 1.0));
        let (first, second) = (hundred(), hundred());
        // Views and clones take nothing.
        let view = first.row_block(1..3).multiply(&second.clone().column_block(0..1));
        let refused = engine.attempt(hundred).map(|_| ());
        assert_eq!(refused, Err(ComputeError::NoRoom { device, bytes: 400, free_bytes: 192 }));
        assert_eq!(view.download(), Matrix::from_fn(2, 1, |_, _| 10.0));
        drop(second);
        assert!(engine.attempt(hundred).is_ok());
        assert_eq!(engine.usage().peak_bytes, 808);
    }
}

/// Several schemes of one layer share what was found for the first.
#[test]
fn what_is_computed_without_room_serves_the_next_computation() {
    for engine in hosts() {
        let engine = engine.limited(1000);
        let upload = |engine: &Engine| {
            let whole = engine.upload(Matrix::from_fn(40, 40, |_, _| 1.0));
            let _ = whole.multiply(&whole);
            Ok::<_, ComputeError>((engine.clone(), whole))
        };
        let [(_, first), (second, _)] =
            [engine.run(upload), engine.clone().run(upload)].map(|found| {
                let (found, venue) = found.unwrap();
                assert!(matches!(venue, Venue::Tiles(_)), "{venue:?}");
                found
            });
        assert!(second.holds(&first));
    }
}

#[test]
fn without_room_only_tiles_are_on_the_device() {
    const SIDE: usize = 60;
    for engine in hosts() {
        let engine = engine.limited(20_000);
        let mut tiled = None;
        let square = |engine: &Engine| {
            let matrix = engine.upload(Matrix::from_fn(SIDE, SIDE, |row, col| (row + col) as f32));
            let square = matrix.multiply(&matrix).download();
            tiled = Some(engine.clone());
            Ok::<_, ComputeError>(square)
        };
        let (_, venue) = engine.run(square).unwrap();
        assert!(matches!(venue, Venue::Tiles(ComputeError::NoRoom { .. })), "{venue:?}");
        let used = tiled.unwrap().usage();
        assert_eq!(used.product_operations, 2 * (SIDE as u64).pow(3));
        assert!(used.peak_bytes <= 20_000 / 6, "{used:?}");
    }
}
