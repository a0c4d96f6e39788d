//! What becomes of a layer that a device has no room for, or fails for in the middle.
//!
//! Runs on every GPU library that is built in and finds a driver, such as Mesa's lavapipe; shortages are shown on
//! the CPU, too.

use std::ops::ControlFlow;

use roundwise_compute::{ComputeError, Device, Engine, Venue};
use roundwise_rounding::{
    Inputs, Linear, MethodOptions, Options, Progress, Rounded, SearchCache, SecondMoment, Watch,
    round,
};
use roundwise_scheme::{FloatDtype, ScaleRule, Weight};
use roundwise_testkit::weights;

/// Sums in another order move a code here and there, and with it the objective by a small part.
const OBJECTIVE_RATIO: f64 = 0.02;
const SIDE: usize = 64;
const METHODS: [(&str, &str); 5] = [
    ("principal", "top_k = 8"),
    ("principal", "top_k = 8\noptimizer = 'adam'\niterations = 6"),
    ("activations", ""),
    ("tpec", ""),
    ("adaround", "iterations = 6"),
];

fn gpus() -> Vec<Engine> {
    let devices = [Device::Cuda(0), Device::Vulkan(0), Device::Metal(0)];
    devices.iter().filter_map(|device| device.resolve().ok()).collect()
}

/// Rounds a layer as conversions do: what one attempt has found is there for the next.
fn rounded(
    engine: &Engine,
    (method, keys): (&str, &str),
    watch: &mut dyn Watch,
) -> (Rounded, Venue) {
    let asked: MethodOptions = toml::from_str(keys).unwrap();
    let options = Options::of_method(method, &asked).unwrap();
    let bytes = weights::gaussian(SIDE, SIDE, 1).bytes();
    let weight = Weight::new(SIDE, SIDE, FloatDtype::F32, &bytes).unwrap();
    let moment = roundwise_compute::Gaussian::new(2).matrix(SIDE, 2 * SIDE);
    let moment = Device::Cpu.resolve().unwrap().upload(moment).gram().download();
    let inputs = Inputs::new(vec![0.0; SIDE], SecondMoment::Full(moment), 1000).unwrap();
    let cache = SearchCache::default();
    let layer = Linear::from(&weight).with_inputs(Some(&inputs)).with_cache(&cache);
    let (scheme, rule) = ("int8-row".parse().unwrap(), ScaleRule::Absmax);
    engine.run(|engine| round(layer, scheme, rule, &options, engine, 3, watch)).unwrap()
}

#[track_caller]
fn assert_near(found: &Rounded, expected: &Rounded, what: &str) {
    /// Of nearest codes: below it an objective is what rounding leaves of 0.
    const NOTHING: f64 = 1e-6;
    let nothing = NOTHING * expected.report.nearest.objective;
    let [found, expected] = [found, expected].map(|it| it.report.stored.objective);
    let allowed = OBJECTIVE_RATIO * expected + nothing;
    assert!((found - expected).abs() <= allowed, "{what}: {found} is not {expected}");
}

#[test]
fn a_layer_without_room_is_rounded_in_tiles_as_it_is_whole() {
    let engines = [Device::Cpu.resolve().unwrap()].into_iter().chain(gpus());
    for engine in engines {
        // Where kernels are compiled for each size of a tile, seconds each on a CPU, one method has to do.
        let methods = if engine.device().is_gpu() { &METHODS[..1] } else { &METHODS };
        for &method in methods {
            let whole = engine.limited(u64::MAX);
            let (expected, venue) = rounded(&whole, method, &mut ());
            assert_eq!(venue, Venue::Device);
            let needed = whole.usage().peak_bytes;
            let (found, venue) = rounded(&engine.limited(needed), method, &mut ());
            assert_eq!(venue, Venue::Device, "{method:?}");
            assert_near(&found, &expected, &format!("{method:?}, {} bytes", needed));
            // One byte less is missing where the search is at its widest, and half of it where it begins.
            for room_bytes in [needed - 1, needed / 2] {
                let (found, venue) = rounded(&engine.limited(room_bytes), method, &mut ());
                assert!(matches!(venue, Venue::Tiles(_)), "{method:?}: {venue:?}");
                assert_near(&found, &expected, &format!("{method:?}, {room_bytes} bytes"));
            }
        }
    }
}

#[test]
fn a_layer_whose_device_fails_in_the_middle_is_rounded_on_the_cpu() {
    for engine in gpus() {
        for method in METHODS {
            let (expected, _) = rounded(&Device::Cpu.resolve().unwrap(), method, &mut ());
            let engine = engine.device().resolve().unwrap();
            let mut is_there = true;
            let mut fail_once = |_: Progress| {
                if std::mem::take(&mut is_there) {
                    panic!("the device is gone");
                }
                ControlFlow::Continue(())
            };
            let (found, venue) = rounded(&engine, method, &mut fail_once);
            let (device, reason) = (engine.device(), "the device is gone".to_owned());
            assert_eq!(venue, Venue::Cpu(ComputeError::Unusable { device, reason }));
            // To the bit: nothing of what the device computed is used.
            assert_eq!(found, expected, "{method:?}");
            let (found, venue) = rounded(&engine, method, &mut ());
            assert_eq!(venue, Venue::Cpu(ComputeError::Lost { device }));
            assert_eq!(found, expected, "{method:?}");
        }
    }
}
