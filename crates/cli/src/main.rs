//! `roundwise`, the program.

fn main() -> std::process::ExitCode {
    roundwise::main()
}
