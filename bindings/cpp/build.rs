fn main() {
    cxx_build::bridge("src/lib.rs").std("c++17").compile("tiebreak_cxx_bridge");
    // For tests: the folder of the generated headers.
    println!("cargo:rustc-env=TIEBREAK_CXX_INCLUDE={}/cxxbridge/include", std::env::var("OUT_DIR").unwrap());
    println!("cargo:rerun-if-changed=src/lib.rs");
}
