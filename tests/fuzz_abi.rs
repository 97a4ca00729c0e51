//! Random calls of every function that the header declares, with right and wrong arguments, in the shared library:
//! none may crash, panic or answer with a status that does not exist, and each must succeed now and then. The calls
//! follow from the header and a seed. `TIEBREAK_FUZZ_CALLS` and `TIEBREAK_FUZZ_SEED` change how many and which;
//! `TIEBREAK_FUZZ_TABLE=1` prints calls and successes by function.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand_philox::Philox;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Integers and pointers go in their own registers, and behind those on the stack in order; so do doubles. More arguments
/// than a function takes are not looked at: one type serves all.
type Call = unsafe extern "C" fn(
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    f64,
    f64,
) -> i32;

/// Enough for each function to succeed.
const CALLS: u64 = 20_000;
const MOST_WORDS: usize = 12;
/// Bytes of each piece of memory that a call is given: more than any count that is passed with it asks for.
const BLOCK: usize = 1 << 16;
/// Words behind each block, which no call may write.
const GUARD: usize = 512;
const UNTOUCHED: u64 = 0x5555_5555_5555_5555;
/// `struct_size` of every struct: those of a newer program, zero where this library ends.
const STRUCT: usize = 2048;
const HANDLES: [&str; 8] = [
    "tb_engine",
    "tb_tensor",
    "tb_graph",
    "tb_network",
    "tb_optimizer",
    "tb_dataset",
    "tb_experiment",
    "tb_experiment_result",
];

/// Arguments with which a function succeeds, where those made up from the types alone would hardly ever: the shape of a
/// view (`-`: NULL), a number, a text (`*`: a new one), a field of a struct.
const RIGHT: &str = r#"
tb_conv2d_forward x=2,3,5,6 weight=4,3,2,2 bias=4 y=2,4,4,5
tb_conv2d_backward_input gy=2,4,4,5 weight=4,3,2,2 gx=2,3,5,6
tb_conv2d_backward_weight x=2,3,5,6 gy=2,4,4,5 gweight=4,3,2,2 gbias=4
tb_maxpool2d_forward x=2,3,5,7 y=2,3,2,3 ties_size=36 kink.kind=0
tb_maxpool2d_backward gy=2,3,2,3 gx=2,3,5,7 ties_size=36 kink.kind=0
tb_maxpool2d_diagnose x=2,3,5,7 gy=2,3,2,3
tb_norm_pool2d_forward x=2,3,5,7 y=2,3,2,3
tb_norm_pool2d_backward x=2,3,5,7 y=2,3,2,3 gy=2,3,2,3 gx=2,3,5,7 kink.kind=2
tb_avgpool2d_forward x=2,3,5,7 y=2,3,2,3
tb_avgpool2d_backward gy=2,3,2,3 gx=2,3,5,7
tb_adaptive_avgpool2d_forward x=2,3,4,6 y=2,3,2,3
tb_adaptive_avgpool2d_backward gy=2,3,2,3 gx=2,3,4,6
tb_relu_forward x=2,3,4 y=2,3,4
tb_relu_backward x=2,3,4 gy=2,3,4 gx=2,3,4 kink.kind=1
tb_batchnorm_forward x=2,3,4,5 weight=3 bias=3 y=2,3,4,5 mean=3 inv_std=3 running_mean=3 running_var=3
tb_batchnorm_inference x=2,3 weight=3 bias=3 running_mean=3 running_var=3 y=2,3
tb_batchnorm_backward x=2,3,4,5 gy=2,3,4,5 weight=3 mean=3 inv_std=3 gx=2,3,4,5 gweight=3 gbias=3
tb_batchnorm_inference_backward x=2,3 gy=2,3 weight=3 running_mean=3 running_var=3 gx=2,3 gweight=3 gbias=3
tb_linear_forward x=3,4 weight=5,4 bias=5 y=3,5
tb_linear_backward_input gy=3,5 weight=5,4 gx=3,4
tb_linear_backward_weight x=3,4 gy=3,5 gweight=5,4 gbias=5
tb_add a=2,3 b=2,3 y=2,3
tb_concat inputs=2,1,4 input_count=2 y=2,2,4
tb_concat_backward gy=2,2,4 gradients=2,1,4 gradient_count=2
tb_dropout_forward x=2,3 p=0.5 y=2,3
tb_dropout_backward gy=2,3 p=0.5 gx=2,3
tb_cross_entropy logits=2,10 label_count=2 glogits=2,10
tb_quantize format=bf16 x=7
tb_sgd_step options.algorithm=0 grad=2,3 param=2,3 momentum_buffer=-
tb_adam_step options.algorithm=1 step=1 grad=2,3 param=2,3 exp_avg=2,3 exp_avg_sq=2,3 max_exp_avg_sq=-
tb_rms_prop_step options.algorithm=3 grad=2,3 param=2,3 square_avg=2,3 momentum_buffer=- grad_avg=-
tb_tensor_create dtype=2 rank=2
tb_tensor_write values=4
tb_tensor_read values=4
tb_dlpack_export view=2,3
tb_graph_from_zoo name=lenet5
tb_graph_from_json description={"input":[1,4,4],"layers":[{"name":"a","type":"relu"}]}
tb_graph_conv2d name=* x=0 out_channels=2 options.kernel=1
tb_graph_relu name=* x=0
tb_graph_maxpool2d name=* x=0 options.kernel=1
tb_graph_norm_pool2d name=* x=0 options.kernel=1
tb_graph_avgpool2d name=* x=0 options.kernel=1
tb_graph_adaptive_avgpool2d name=* x=0
tb_graph_batchnorm name=* x=0
tb_graph_dropout name=* x=0 p=0.5
tb_graph_linear name=* x=7 out_features=3
tb_graph_flatten name=* x=0
tb_graph_add name=* a=0 b=0
tb_graph_concat name=* input_count=2
tb_network_create name=lenet5_bn
tb_network_set_kink layer=features.2 kink.kind=0
tb_network_set_kinks convention=mlpack
tb_network_kink layer=features.2
tb_network_read_parameter name=features.0.weight values=6,1,5,5
tb_network_write_parameter name=features.0.weight values=6,1,5,5
tb_network_read_gradient name=features.0.weight values=6,1,5,5
tb_network_read_buffer name=features.3.running_mean values=6
tb_network_write_buffer name=features.3.running_mean values=6
tb_network_forward x=2,1,28,28 logits=2,10
tb_network_loss_and_gradients x=2,1,28,28 label_count=2
tb_network_evaluate x=2,1,28,28 label_count=2
tb_network_ties layer=features.6 counts_size=512
tb_network_read_activation layer=classifier.4 values=2,84
tb_network_compare x=2,1,28,28 label_count=2 choice_count=2 comparison_count=3 difference_count=54 differences.struct_size=168
tb_network_compare_stored choice_count=2 comparison_count=3 difference_count=54 differences.struct_size=168
tb_network_tie_classes room=2
tb_network_non_finite room=2
tb_network_gradient_norms norm_count=18
tb_network_census x=2,1,28,28 label_count=2 entry_count=14
tb_optimizer_train_step x=2,1,28,28 label_count=2
tb_optimizer_profile_step x=2,1,28,28 label_count=2
tb_dataset_open path=mnist
tb_dataset_batch count=2 x=2,1,28,28
tb_network_save path=network
tb_network_load path=network
tb_optimizer_save path=run
tb_optimizer_load path=run
tb_experiment_defaults name=relu
tb_experiment_create name=zero_program protocol={"precisions":[16],"vectors":[[1]],"times":[0,1]} train=0 test=0
tb_experiment_run out=experiment shard=1 shard_count=1
tb_experiment_result_numbers column=4 count=4
tb_experiment_result_integers column=4 count=4
tb_experiment_result_text column=4 row=1
tb_experiment_result_sentence index=0
"#;

fn right() -> BTreeMap<&'static str, Plan> {
    let line = |line: &'static str| {
        let (function, arguments) = line.split_once(' ')?;
        Some((function, arguments.split(' ').filter_map(|a| a.split_once('=')).collect()))
    };
    RIGHT.lines().filter_map(line).collect()
}

/// Values by argument.
type Plan = BTreeMap<&'static str, &'static str>;

#[derive(Debug)]
struct Function {
    name: String,
    /// Type without `const` and `struct`, and name.
    arguments: Vec<(String, String)>,
}

fn header() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/tiebreak.h")).unwrap()
}

/// The header without comments.
fn code(header: &str) -> String {
    let mut rest = header;
    let mut code = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        code += before;
        rest = after.split_once("*/").unwrap().1;
    }
    code + rest
}

fn argument(text: &str) -> (String, String) {
    let text = text.replace("const ", "").replace("struct ", "");
    let at = text.rfind([' ', '*']).map_or(0, |i| i + 1);
    (text[..at].replace(' ', ""), text[at..].to_string())
}

fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for declaration in code.split(';') {
        let text = declaration.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(at) = text.rfind("tb_status tb_") else { continue };
        let text = &text[at + "tb_status ".len()..];
        let Some((name, list)) = text.split_once('(') else { continue };
        let list = list.trim_end_matches(')');
        functions.push(Function {
            name: name.to_string(),
            arguments: list.split(',').map(|a| argument(a.trim())).collect(),
        });
    }
    functions
}

/// A plain number in a struct; pointers stay as the library's defaults have them.
#[derive(Clone)]
struct Field {
    name: String,
    at: usize,
    size: usize,
    float: bool,
}

fn structs(code: &str) -> BTreeMap<String, Vec<Field>> {
    let mut structs = BTreeMap::new();
    for part in code.split("typedef struct ").skip(1) {
        let Some((name, body)) = part.split_once('{') else { continue };
        if name.contains(';') {
            continue;
        }
        let (mut fields, mut at) = (Vec::new(), 0usize);
        for field in body.split_once('}').unwrap().0.split(';').map(str::trim).filter(|f| !f.is_empty()) {
            let (kind, name) = argument(field);
            let count = name.split_once('[').map_or(1, |(_, n)| n.trim_end_matches(']').parse().unwrap());
            let pointer = kind.contains('*') || kind.contains("callback");
            let size = match kind.as_str() {
                _ if pointer => 8,
                "size_t" | "int64_t" | "uint64_t" | "double" | "tb_node" => 8,
                "char" => 1,
                _ => 4,
            };
            at = at.next_multiple_of(size);
            if !pointer && at > 0 {
                let name = name.split('[').next().unwrap();
                let float = kind == "double";
                let field = |i| Field { name: name.into(), at: at + i * size, size, float };
                fields.extend((0..count).map(field));
            }
            at += size * count;
        }
        structs.insert(name.trim().to_string(), fields);
    }
    structs
}

struct World {
    library: *mut c_void,
    random: Philox,
    structs: BTreeMap<String, Vec<Field>>,
    right: BTreeMap<&'static str, Plan>,
    /// Of this call: most of it is right, as `plan` has it; and the dtype of all its views.
    tame: bool,
    plan: Plan,
    dtype: i32,
    /// Texts made for this call, and how many new names there were.
    text: Vec<CString>,
    texts: usize,
    blocks: Vec<Vec<u64>>,
    next_block: usize,
    live: BTreeMap<&'static str, Vec<usize>>,
    stale: Vec<usize>,
    /// An engine, a network and an experiment that no call gets: others are made from them.
    own: [usize; 3],
    strings: Vec<CString>,
}

unsafe extern "C" fn heard(done: u64, total: u64, _: *mut c_void) -> i32 {
    assert!(done <= total);
    (done > 3) as i32
}

impl World {
    fn below(&mut self, n: usize) -> usize {
        self.random.bounded(n as u32) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// What happens in so many of a hundred calls, and seldom in tame ones.
    fn odd(&mut self, percent: usize) -> bool {
        let percent = if self.tame { 1 } else { percent };
        self.chance(percent)
    }

    /// What is planned for an argument, which is now and then forgotten.
    fn planned(&mut self, name: &str) -> Option<&'static str> {
        let value = self.plan.get(name).copied()?;
        (!self.odd(0)).then_some(value)
    }

    fn symbol(&self, name: &str) -> *mut c_void {
        let text = CString::new(name).unwrap();
        // SAFETY: the library is open.
        let symbol = unsafe { dlsym(self.library, text.as_ptr()) };
        assert!(!symbol.is_null(), "{name} is not exported");
        symbol
    }

    fn call(&self, name: &str, words: &[usize], doubles: &[f64]) -> i32 {
        let mut w = [0; MOST_WORDS];
        w[..words.len()].copy_from_slice(words);
        let d = |i: usize| doubles.get(i).copied().unwrap_or(0.0);
        // SAFETY: a function of the C ABI; every pointer among the words is NULL, a handle, or a block of this world that is
        // large enough.
        unsafe {
            let call: Call = std::mem::transmute(self.symbol(name));
            call(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], d(0), d(1))
        }
    }

    /// A block of zeros that nothing else of this call has.
    fn block(&mut self) -> usize {
        if self.next_block == self.blocks.len() {
            self.blocks.push(vec![0; BLOCK / 8 + GUARD]);
        }
        let block = &mut self.blocks[self.next_block];
        block.fill(0);
        block[BLOCK / 8..].fill(UNTOUCHED);
        self.next_block += 1;
        block.as_mut_ptr().addr()
    }

    fn put(&mut self, address: usize, bytes: &[u8]) {
        let block = self.blocks.iter_mut().find(|b| {
            let start = b.as_ptr().addr();
            (start..start + BLOCK).contains(&address)
        });
        let block = block.expect("an address in a block");
        let at = address - block.as_ptr().addr();
        // SAFETY: bytes of the block.
        let target = unsafe { std::slice::from_raw_parts_mut(block.as_mut_ptr().cast::<u8>(), BLOCK) };
        target[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, address: usize, value: usize) {
        self.put(address, &value.to_ne_bytes());
    }

    fn half(&mut self, address: usize, value: i32) {
        self.put(address, &value.to_ne_bytes());
    }

    fn odd_integer(&mut self) -> i64 {
        let odd = [-1, 0, i64::MAX, i64::MIN, 1 << 32, i32::MAX.into(), 9, 255];
        odd[self.below(odd.len())]
    }

    fn double(&mut self) -> f64 {
        let values = [0.0, 1.0, 0.5, -1.0, 1e-3, f64::NAN, f64::INFINITY, 1e300, -0.0, 2.0];
        values[self.below(values.len())]
    }

    fn size(&mut self, name: &str) -> usize {
        if let Some(size) = self.planned(name) {
            return size.parse().unwrap();
        }
        if name == "ties_size" && self.chance(30) {
            return 1 << 62;
        }
        if self.odd(8) { usize::MAX } else { self.below(9) }
    }

    fn handle(&mut self, kind: &str) -> usize {
        let own: Vec<usize> = self.live.get(kind).cloned().unwrap_or_default();
        if !own.is_empty() && !self.odd(10) {
            return own[self.below(own.len())];
        }
        match self.below(4) {
            0 => 0,
            1 if !self.stale.is_empty() => {
                let old = self.below(self.stale.len());
                self.stale[old]
            }
            2 => {
                let other = HANDLES[self.below(HANDLES.len())];
                self.live.get(other).and_then(|l| l.first().copied()).unwrap_or(7)
            }
            _ => (self.random.next_u32() as usize) << self.below(32),
        }
    }

    /// The struct `kind` at `address`: the library's defaults where it has some and what is planned for the argument
    /// `name`, then now and then another number.
    fn structure(&mut self, kind: &str, name: &str, address: usize) {
        let init = match kind {
            "tb_optimizer_options" => {
                let planned = self.planned("options.algorithm").map(|a| a.parse().unwrap());
                let algorithm = planned.unwrap_or_else(|| self.below(4));
                Some(("tb_optimizer_options_init", vec![address, STRUCT, algorithm]))
            }
            "tb_kink" => Some(("tb_kink_init", vec![address, STRUCT])),
            "tb_engine_options" => Some(("tb_engine_options_init", vec![address, STRUCT])),
            "tb_conv2d_options" => Some(("tb_conv2d_options_init", vec![address, STRUCT])),
            "tb_pool2d_options" => Some(("tb_pool2d_options_init", vec![address, STRUCT])),
            "tb_batchnorm_options" => Some(("tb_batchnorm_options_init", vec![address, STRUCT])),
            "tb_zoo_options" => Some(("tb_zoo_options_init", vec![address, STRUCT])),
            "tb_network_options" => Some(("tb_network_options_init", vec![address, STRUCT])),
            "tb_parameter_group" => Some(("tb_parameter_group_init", vec![address, STRUCT])),
            "tb_schedule" => Some(("tb_schedule_init", vec![address, STRUCT])),
            "tb_dataset_options" => Some(("tb_dataset_options_init", vec![address, STRUCT])),
            "tb_augmentation" => Some(("tb_augmentation_init", vec![address, STRUCT])),
            _ => None,
        };
        match init {
            Some((init, words)) => assert_eq!(self.call(init, &words, &[]), 0, "{init}"),
            None => {
                // Always as planned: so many of the full size would not fit into a block.
                let size = self.plan.get(&*format!("{name}.struct_size"));
                let size = size.map_or(STRUCT, |size| size.parse().unwrap());
                self.word(address, size);
            }
        }
        let fields = self.structs.get(kind).cloned().unwrap_or_default();
        for field in &fields {
            if let Some(value) = self.planned(&format!("{name}.{}", field.name)) {
                let value: i64 = value.parse().unwrap();
                self.put(address + field.at, &value.to_ne_bytes()[..field.size]);
            }
        }
        if self.odd(40) && !fields.is_empty() {
            let Field { at, size, float, .. } = fields[self.below(fields.len())];
            let value = if self.chance(60) { self.below(5) as i64 } else { self.odd_integer() };
            let bytes = if float { self.double().to_ne_bytes() } else { value.to_ne_bytes() };
            self.put(address + at, &bytes[..size]);
        }
        if self.odd(4) {
            let size = [0, 8, usize::MAX, STRUCT + 1][self.below(4)];
            self.word(address, size);
        }
        if kind == "tb_engine_options" {
            // Never a GPU, nor a thousand threads: other tests do that.
            self.half(address + 8, 1);
            self.half(address + 12, 1);
        }
    }

    fn view(&mut self, name: &str) -> usize {
        let planned = self.planned(name);
        if planned == Some("-") {
            return 0;
        }
        let (view, data, shape) = (self.block(), self.block(), self.block());
        let mut left = 256;
        let dimensions: Vec<usize> = match planned {
            Some(list) => list.split(',').map(|d| d.parse().unwrap()).collect(),
            None => (0..self.below(5))
                .map(|_| {
                    let d = 1 + self.below(6.min(left));
                    left /= d;
                    d
                })
                .collect(),
        };
        let rank = dimensions.len();
        for (i, &d) in dimensions.iter().enumerate() {
            self.word(shape + 8 * i, d);
        }
        let values: [f32; 256] = std::array::from_fn(|_| self.below(5) as f32 - 2.0);
        self.put(data, bytemuck::bytes_of(&values));
        let dtype = if self.odd(60) { 1 + self.below(3) as i32 } else { self.dtype };
        self.word(view, data);
        self.word(view + 8, shape);
        self.half(view + 16, rank as i32);
        self.half(view + 20, dtype);
        let fault = if self.odd(42) { self.below(10) } else { 10 };
        match fault {
            0 => self.word(view, 0),
            1 => self.word(view, data + 1),
            2 => self.word(view + 8, 0),
            3 => {
                let rank = self.odd_integer() as i32;
                // A rank that is right needs so many dimensions.
                self.half(view + 16, rank);
            }
            4 => {
                let dtype = self.odd_integer() as i32;
                self.half(view + 20, dtype);
            }
            5 if rank > 0 => {
                // What is larger than memory, but not than the address space, nobody can tell from right.
                let d = [usize::MAX, 1 << 62, 0][self.below(3)];
                self.word(shape, d);
            }
            6..=9 => {
                let tensor = self.handle("tb_tensor");
                self.word(view, tensor);
                self.half(view + 20, 16);
                if self.chance(80) {
                    self.word(view + 8, 0);
                    self.half(view + 16, 0);
                }
            }
            _ => {}
        }
        view
    }

    fn pointer(&mut self) -> usize {
        match (self.odd(10), self.chance(50)) {
            (false, _) => self.block(),
            (true, false) => 0,
            (true, true) => self.block() + 1,
        }
    }

    /// One call of `function` with arguments made up.
    fn random_call(&mut self, function: &Function) -> i32 {
        self.next_block = 0;
        self.text.clear();
        self.tame = self.chance(60);
        self.plan = if self.tame {
            self.right.get(&*function.name).cloned().unwrap_or_default()
        } else {
            Plan::new()
        };
        self.dtype = [1, 2, 2, 3][self.below(4)];
        let (mut words, mut doubles, mut made) = (Vec::new(), Vec::new(), Vec::new());
        let mut freed = None;
        for (kind, name) in &function.arguments {
            let base = kind.trim_end_matches('*');
            let handle = HANDLES.into_iter().find(|h| *h == base);
            match (kind.as_str(), handle) {
                ("double", _) => {
                    let planned = self.planned(name).map(|v| v.parse().unwrap());
                    doubles.push(planned.unwrap_or_else(|| self.double()));
                }
                (_, Some(h)) if kind.ends_with("**") => {
                    let slot = self.pointer();
                    if slot.is_multiple_of(8) && slot != 0 {
                        made.push((h, slot));
                    }
                    words.push(slot);
                }
                (_, Some(h)) => {
                    // `0`: none.
                    let none = self.planned(name) == Some("0");
                    let chosen = if none { 0 } else { self.handle(h) };
                    if function.name.ends_with("_free") {
                        freed = Some((h, chosen));
                    }
                    words.push(chosen);
                }
                ("tb_view*" | "tb_view_mut*", _) => {
                    let view = self.view(name);
                    // An array of views holds at most as many as are counted: eight.
                    let others = if function.name.starts_with("tb_concat") { 1..8 } else { 1..1 };
                    for i in others {
                        let other = self.view(name);
                        let bytes = self.bytes_at(other, 24);
                        self.put(view + 24 * i, &bytes);
                    }
                    words.push(if self.odd(5) { 0 } else { view });
                }
                ("tb_choice*", _) => {
                    let (list, kink) = (self.block(), self.block());
                    self.structure("tb_kink", "kink", kink);
                    for i in 0..8 {
                        let alternative = self.below(3);
                        self.word(list + 24 * i, alternative);
                        self.word(list + 24 * i + 16, kink);
                    }
                    words.push(list);
                }
                ("char*", _) if self.plan.contains_key(&**name) && !self.odd(0) => {
                    self.texts += 1;
                    let text = match self.plan[&**name] {
                        "*" => CString::new(format!("layer{}", self.texts)).unwrap(),
                        text => CString::new(text).unwrap(),
                    };
                    words.push(text.as_ptr().addr());
                    self.text.push(text);
                }
                ("void*", _) if name == "managed" && !self.odd(10) => words.push(self.managed()),
                ("char*", _) => {
                    let string = self.below(self.strings.len() + 1);
                    words.push(self.strings.get(string).map_or(0, |s| s.as_ptr().addr()));
                }
                ("tb_progress_callback", _) => {
                    let listens = self.chance(50);
                    words.push(if listens { heard as *const () as usize } else { 0 });
                }
                ("size_t" | "tb_node", _) => {
                    let size = if name == "struct_size" { STRUCT } else { self.size(name) };
                    words.push(size);
                }
                ("int64_t*", _) => {
                    let numbers = self.pointer();
                    if numbers.is_multiple_of(8) && numbers != 0 {
                        for i in 0..16 {
                            let d = 1 + self.below(6);
                            self.word(numbers + 8 * i, d);
                        }
                    }
                    words.push(numbers);
                }
                (k, _) if k.ends_with('*') => {
                    let address = self.pointer();
                    if address.is_multiple_of(8)
                        && address != 0
                        && base.starts_with("tb_")
                        && base != "tb_node"
                    {
                        self.structure(base, name, address);
                    }
                    words.push(address);
                }
                _ => {
                    let value = match self.planned(name) {
                        Some(value) => value.parse().unwrap(),
                        None if self.odd(20) => self.odd_integer(),
                        None => self.below(6) as i64,
                    };
                    words.push(value as usize);
                }
            }
        }
        assert!(words.len() <= MOST_WORDS && doubles.len() <= 2, "{function:?}");
        let status = self.call(&function.name, &words, &doubles);
        let whole = |block: &Vec<u64>| block[BLOCK / 8..].iter().all(|&word| word == UNTOUCHED);
        assert!(self.blocks[..self.next_block].iter().all(whole), "{function:?} wrote beyond its arguments");
        for (kind, slot) in made {
            let bytes = self.bytes_at(slot, 8);
            let handle = usize::from_ne_bytes(bytes.try_into().unwrap());
            if handle != 0 {
                self.live.entry(kind).or_default().push(handle);
            }
        }
        if let (Some((kind, handle)), 0) = (freed, status) {
            self.forget(kind, handle);
        }
        status
    }

    /// A DLPack tensor of 2x3 numbers in both versions: which one is meant stands in an argument of its own.
    fn managed(&mut self) -> usize {
        let (managed, data, shape) = (self.block(), self.block(), self.block());
        self.word(shape, 2);
        self.word(shape + 8, 3);
        let versioned = self.chance(50);
        let tensor = if versioned { managed + 32 } else { managed };
        if versioned {
            self.half(managed, 1);
        }
        self.word(tensor, data);
        self.half(tensor + 8, 1);
        self.half(tensor + 16, 2);
        let bits = [16, 32, 64, 8][self.below(4)];
        self.put(tensor + 20, &[2, bits, 1, 0]);
        self.word(tensor + 24, shape);
        managed
    }

    fn bytes_at(&self, address: usize, len: usize) -> Vec<u8> {
        let inside = |b: &&Vec<u64>| (b.as_ptr().addr()..b.as_ptr().addr() + BLOCK).contains(&address);
        let block = self.blocks.iter().find(inside).expect("an address in a block");
        bytemuck::cast_slice::<u64, u8>(block)[address - block.as_ptr().addr()..][..len].to_vec()
    }

    fn forget(&mut self, kind: &'static str, handle: usize) {
        if handle != 0 {
            self.live.entry(kind).or_default().retain(|&h| h != handle);
            self.stale.push(handle);
        }
    }

    /// At least one of each kind of handle, and no more than a few.
    fn tidy(&mut self) {
        for kind in HANDLES {
            while self.live.get(kind).is_some_and(|l| l.len() > 4) {
                let oldest = self.live[kind][0];
                assert_eq!(self.call(&format!("{kind}_free"), &[oldest], &[]), 0);
                self.forget(kind, oldest);
            }
            if self.live.get(kind).is_none_or(|l| l.is_empty()) {
                let handle = self.create(kind);
                self.live.entry(kind).or_default().push(handle);
            }
        }
    }

    fn create(&mut self, kind: &'static str) -> usize {
        self.next_block = 0;
        let slot = self.block();
        let [lenet, lenet_bn] = [c"lenet5", c"lenet5_bn"].map(|s| s.as_ptr().addr());
        let protocol = c"{\"precisions\":[16],\"vectors\":[[1]],\"times\":[0,1]}";
        let [zero_program, protocol] = [c"zero_program", protocol].map(|s| s.as_ptr().addr());
        let status = match kind {
            "tb_engine" => {
                let options = self.block();
                assert_eq!(self.call("tb_engine_options_init", &[options, STRUCT], &[]), 0);
                self.half(options + 8, 1);
                self.half(options + 12, 1);
                self.call("tb_engine_create", &[options, slot], &[])
            }
            "tb_tensor" => {
                let shape = self.block();
                self.word(shape, 4);
                self.call("tb_tensor_create", &[self.own[0], 2, shape, 1, slot], &[])
            }
            "tb_graph" => self.call("tb_graph_from_zoo", &[lenet, 0, slot], &[]),
            "tb_network" => self.call("tb_network_create", &[self.own[0], lenet_bn, 0, 0, slot], &[]),
            "tb_optimizer" => self.call("tb_optimizer_create", &[self.own[1], 0, slot], &[]),
            "tb_dataset" => self.call("tb_dataset_digits", &[8, 1, 0, 0, slot], &[]),
            "tb_experiment" => self.call("tb_experiment_create", &[zero_program, protocol, 0, 0, slot], &[]),
            _ => {
                let experiment = self.own[2];
                self.call("tb_experiment_run", &[experiment, self.own[0], 0, 0, 0, 0, 0, slot], &[])
            }
        };
        assert_eq!(status, 0, "{kind}");
        usize::from_ne_bytes(self.bytes_at(slot, 8).try_into().unwrap())
    }
}

/// Beside this test, where cargo puts every crate type of the package.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().unwrap();
    [folder, folder.parent().unwrap()]
        .map(|f| f.join("libtiebreak.so"))
        .into_iter()
        .find(|p| p.exists())
        .unwrap()
}

/// A data set for `tb_dataset_open`, of two images in each part.
fn write_mnist(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for part in ["train", "t10k"] {
        let header = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
        let images = [header(&[0x803, 2, 28, 28]), vec![99; 2 * 28 * 28]].concat();
        let labels = [header(&[0x801, 2]), vec![3, 7]].concat();
        std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn random_calls() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}: no number: {v}")))
    };
    let (calls, seed) = (number("TIEBREAK_FUZZ_CALLS", CALLS), number("TIEBREAK_FUZZ_SEED", 1));
    // In memory: calls that write files wait for the disk otherwise.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = CString::new(library().to_str().unwrap()).unwrap();
    // Files that calls write appear there.
    std::env::set_current_dir(folder.path()).unwrap();
    write_mnist(Path::new("mnist"));
    // SAFETY: RTLD_NOW; the library's constructors do nothing.
    let library = unsafe { dlopen(path.as_ptr(), 2) };
    assert!(!library.is_null());
    let code = code(&header());
    let functions = functions(&code);
    assert!(functions.len() > 100, "{}", functions.len());
    let strings = [
        "",
        "lenet5",
        "lenet5_bn",
        "f16",
        "mixed",
        "bf16",
        "e5m2",
        "features.0",
        "features.2",
        "features.0.weight",
        "x",
        "classifier.4",
        "file.safetensors",
        "/dev/null/folder",
        "\u{e9}",
    ];
    let mut strings: Vec<CString> = strings.iter().map(|s| CString::new(*s).unwrap()).collect();
    strings.push(CString::new([0xff, 0xfe]).unwrap());
    let mut world = World {
        library,
        random: Philox::from_u64_seed_stream(seed, 0),
        structs: structs(&code),
        right: right(),
        tame: false,
        plan: Plan::new(),
        dtype: 2,
        text: Vec::new(),
        texts: 0,
        blocks: Vec::new(),
        next_block: 0,
        live: BTreeMap::new(),
        stale: Vec::new(),
        own: [0; 3],
        strings,
    };
    world.own[0] = world.create("tb_engine");
    world.own[1] = world.create("tb_network");
    world.own[2] = world.create("tb_experiment");
    let mut statuses: BTreeMap<i32, u64> = BTreeMap::new();
    // By function: calls, successes.
    let mut counts: BTreeMap<&str, [u64; 2]> = functions.iter().map(|f| (f.name.as_str(), [0, 0])).collect();
    // Where the process dies, this file says in which call.
    let trace = std::env::temp_dir().join(format!("tiebreak-fuzz-{}", std::process::id()));
    let log = std::fs::File::create(&trace).unwrap();
    for i in 0..calls {
        world.tidy();
        let function = &functions[world.below(functions.len())];
        // It loads every driver anew.
        if function.name == "tb_adapters" && !world.chance(5) {
            continue;
        }
        let text = format!("seed {seed}, call {i}: {}", function.name);
        log.write_all_at(format!("{text:80}\n").as_bytes(), 0).unwrap();
        let status = world.random_call(function);
        assert!((0..=13).contains(&status), "seed {seed}, call {i}: {} gives status {status}", function.name);
        *statuses.entry(status).or_default() += 1;
        let [called, succeeded] = counts.get_mut(&*function.name).unwrap();
        *called += 1;
        *succeeded += (status == 0) as u64;
    }
    std::fs::remove_file(&trace).unwrap();
    println!("seed {seed}, {calls} calls, by status: {statuses:?}");
    if std::env::var("TIEBREAK_FUZZ_TABLE").is_ok_and(|v| v == "1") {
        for (name, [called, succeeded]) in &counts {
            println!("{name:34} {called:8} {succeeded:8}");
        }
    }
    let never: Vec<_> = counts.iter().filter(|(_, n)| n[1] == 0).map(|(name, _)| *name).collect();
    println!("{} functions, without success: {never:?}", counts.len());
    if calls >= CALLS {
        assert!(never.is_empty() && statuses.len() > 5, "{never:?}, {statuses:?}");
    }
}
