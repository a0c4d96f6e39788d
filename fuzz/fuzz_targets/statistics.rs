//! Side-cars and importance matrices: every layer's statistics are read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_stats::Statistics;

fuzz_target!(|bytes: &[u8]| {
    let path = put("statistics", bytes);
    let Ok(statistics) = Statistics::open(&path) else { return };
    for layer in statistics.layers().iter().take(64) {
        let _ = statistics.layer(&layer.module);
    }
});
