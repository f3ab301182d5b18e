//! Migrations are embedded by a macro, which the compiler does not know to depend on their directory.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
