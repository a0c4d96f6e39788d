/// Returns the fewest elements of a weight that is worth the time of a method, where a recipe names no other
/// number.
///
/// As the published system of `adaround-fast` has it: a weight of fewer elements keeps its numbers.
pub fn default_min_size(method: &str) -> u64 {
    match method {
        "adaround-fast" => 1024,
        _ => 0,
    }
}
