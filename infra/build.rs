//! A new migration is a reason to build: the macro that embeds them only knows those that were there.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
