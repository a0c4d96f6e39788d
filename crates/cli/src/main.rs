//! `roundwise`, the program.

use mimalloc::MiMalloc;

/// glibc keeps freed blocks of up to 32 MiB: a layer in flight took a third more memory
/// (`docs/decisions/0015-memory-by-mimalloc.md`).
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    roundwise::main()
}
