//! Headers that are JSON and lie about their tensors.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use roundwise_tensor_file::Checkpoint;
use serde_json::{Map, Value, json};

/// Bytes of data of the file that is lied about.
const DATA_BYTES: u64 = 48;

fn truth() -> Map<String, Value> {
    let entries = json!({
        "a.weight": { "dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32] },
        "b.weight": { "dtype": "BF16", "shape": [8], "data_offsets": [32, 48] },
    });
    entries.as_object().cloned().unwrap_or_default()
}

/// Mutates headers so that they are wrong; each must be refused. A panic would end this task.
pub(crate) fn mutations(folder: &Path, count: usize) -> Result<String> {
    let path = folder.join("mutated.safetensors");
    fs::write(&path, file(&Value::Object(truth()).to_string()))?;
    ensure!(Checkpoint::open(&path).is_ok(), "the true header is refused");
    let mut random = Random(1);
    let mut accepted = 0;
    for _ in 0..count {
        fs::write(&path, file(&lie(&mut random)))?;
        if let Ok(opened) = Checkpoint::open(&path) {
            println!("accepted: {:?}", opened.tensors());
            accepted += 1;
        }
    }
    ensure!(accepted == 0, "{accepted} of {count} changed headers are accepted");
    Ok(format!("{count} refused, 0 accepted, 0 panics"))
}

fn file(header: &str) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &[0; DATA_BYTES as usize]].concat()
}

fn lie(random: &mut Random) -> String {
    let mut header = truth();
    let name = ["a.weight", "b.weight"][random.below(2) as usize];
    // At least 1, so that no lie is the truth by chance.
    let step = random.below(1 << 20) + 1;
    let huge = [u64::MAX, 1 << 63, (1 << 32) + step][random.below(3) as usize];
    let entry = &mut header[name];
    match random.below(14) {
        0 => entry["data_offsets"][0] = json!(end(entry, 0) + step),
        1 => entry["data_offsets"][1] = json!(end(entry, 1) + step),
        2 => entry["data_offsets"] = json!([end(entry, 1), end(entry, 0)]),
        3 => entry["shape"] = json!([step + 8]),
        4 => entry["shape"] = json!([huge, huge]),
        5 => {
            entry["dtype"] = json!(["F64", "U8", "F4", "C64", "f32", ""][random.below(6) as usize])
        }
        6 => entry["data_offsets"] = json!([huge, huge]),
        7 => entry["shape"] = Value::Array(vec![json!(1); 65 + random.below(100) as usize]),
        8 => entry["extra"] = json!(step),
        9 => {
            let key = ["dtype", "shape", "data_offsets"][random.below(3) as usize];
            entry.as_object_mut().map(|entry| entry.remove(key));
        }
        10 => {
            let key = ["dtype", "shape", "data_offsets"][random.below(3) as usize];
            entry[key] = [json!(null), json!(-1), json!(0.5), json!({}), json!([-1, 2])]
                [random.below(5) as usize]
                .clone();
        }
        11 => drop(header.remove(name)),
        12 => {
            let other =
                json!({ "dtype": "U8", "shape": [1], "data_offsets": [step % 48, step % 48 + 1] });
            header.insert(format!("c{step}"), other);
        }
        _ => {
            let text = Value::Object(header.clone()).to_string();
            let twice = json!({ name: header[name].clone() }).to_string();
            return format!("{},{}", &text[..text.len() - 1], &twice[1..]);
        }
    }
    Value::Object(header).to_string()
}

fn end(entry: &Value, which: usize) -> u64 {
    entry["data_offsets"][which].as_u64().unwrap_or(0)
}

/// Xorshift: any numbers will do, the same ones every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
