//! The program under test: the same `main` as the shipped binary.
fn main() -> std::process::ExitCode {
    gateway::main()
}
