/*
 * Sizes, offsets and numbers that programs compiled with this header rely on: none may ever change, new fields and
 * numbers come after them. For C99 and C++ alike, LAYOUT is a static assertion.
 */
#ifndef TIEBREAK_TEST_LAYOUT_H
#define TIEBREAK_TEST_LAYOUT_H

#ifdef __cplusplus
#define LAYOUT(condition) static_assert(condition, #condition)
#else
#define LAYOUT_NAME(line) layout_##line
#define LAYOUT_LINE(condition, line) typedef char LAYOUT_NAME(line)[(condition) ? 1 : -1]
#define LAYOUT_AT(condition, line) LAYOUT_LINE(condition, line)
#define LAYOUT(condition) LAYOUT_AT(condition, __LINE__)
#endif

#define FIELD(type, field, offset) LAYOUT(offsetof(type, field) == (offset))

LAYOUT(TB_ABI_VERSION == 1);
LAYOUT(sizeof(void *) == 8);

LAYOUT(sizeof(tb_view) == 24);
FIELD(tb_view, data, 0);
FIELD(tb_view, shape, 8);
FIELD(tb_view, rank, 16);
FIELD(tb_view, dtype, 20);

LAYOUT(sizeof(tb_view_mut) == 24);
FIELD(tb_view_mut, data, 0);
FIELD(tb_view_mut, shape, 8);
FIELD(tb_view_mut, rank, 16);
FIELD(tb_view_mut, dtype, 20);

LAYOUT(sizeof(tb_engine_options) == 40);
FIELD(tb_engine_options, struct_size, 0);
FIELD(tb_engine_options, device, 8);
FIELD(tb_engine_options, threads, 12);
FIELD(tb_engine_options, adapter, 16);
FIELD(tb_engine_options, log, 24);
FIELD(tb_engine_options, log_user_data, 32);

LAYOUT(sizeof(tb_engine_properties) == 536);
FIELD(tb_engine_properties, struct_size, 0);
FIELD(tb_engine_properties, gpu, 8);
FIELD(tb_engine_properties, gpu_f16, 12);
FIELD(tb_engine_properties, threads, 16);
FIELD(tb_engine_properties, name, 20);
FIELD(tb_engine_properties, driver, 276);

LAYOUT(sizeof(tb_kink) == 48);
FIELD(tb_kink, struct_size, 0);
FIELD(tb_kink, kind, 8);
FIELD(tb_kink, jacobian, 12);
FIELD(tb_kink, composition, 16);
FIELD(tb_kink, reserved, 20);
FIELD(tb_kink, beta, 24);
FIELD(tb_kink, seed, 32);
FIELD(tb_kink, alpha, 40);

LAYOUT(sizeof(tb_conv2d_options) == 40);
FIELD(tb_conv2d_options, struct_size, 0);
FIELD(tb_conv2d_options, stride, 8);
FIELD(tb_conv2d_options, padding, 24);

LAYOUT(sizeof(tb_maxpool2d_options) == 56);
FIELD(tb_maxpool2d_options, struct_size, 0);
FIELD(tb_maxpool2d_options, kernel, 8);
FIELD(tb_maxpool2d_options, stride, 24);
FIELD(tb_maxpool2d_options, padding, 40);

LAYOUT(sizeof(tb_network_options) == 24);
FIELD(tb_network_options, struct_size, 0);
FIELD(tb_network_options, dtype, 8);
FIELD(tb_network_options, classes, 12);
FIELD(tb_network_options, seed, 16);

LAYOUT(sizeof(tb_network_properties) == 328);
FIELD(tb_network_properties, struct_size, 0);
FIELD(tb_network_properties, dtype, 8);
FIELD(tb_network_properties, gpu, 12);
FIELD(tb_network_properties, parameter_count, 16);
FIELD(tb_network_properties, layer_count, 24);
FIELD(tb_network_properties, classes, 32);
FIELD(tb_network_properties, allocated_bytes, 40);
FIELD(tb_network_properties, input_shape, 48);
FIELD(tb_network_properties, placement, 72);

LAYOUT(sizeof(tb_tensor_properties) == 240);
FIELD(tb_tensor_properties, struct_size, 0);
FIELD(tb_tensor_properties, name, 8);
FIELD(tb_tensor_properties, kind, 136);
FIELD(tb_tensor_properties, rank, 168);
FIELD(tb_tensor_properties, shape, 176);

LAYOUT(sizeof(tb_comparison) == 64);
FIELD(tb_comparison, struct_size, 0);
FIELD(tb_comparison, l1, 8);
FIELD(tb_comparison, l2, 16);
FIELD(tb_comparison, linf, 24);
FIELD(tb_comparison, differing, 32);
FIELD(tb_comparison, losses, 40);
FIELD(tb_comparison, shared_forward, 56);

LAYOUT(sizeof(tb_sgd_options) == 40);
FIELD(tb_sgd_options, struct_size, 0);
FIELD(tb_sgd_options, learning_rate, 8);
FIELD(tb_sgd_options, momentum, 16);
FIELD(tb_sgd_options, weight_decay, 24);
FIELD(tb_sgd_options, nesterov, 32);

LAYOUT(sizeof(tb_status) == 4 && sizeof(tb_dtype) == 4 && sizeof(tb_device) == 4 && sizeof(tb_log_level) == 4);
LAYOUT(sizeof(tb_kink_kind) == 4 && sizeof(tb_jacobian) == 4 && sizeof(tb_composition) == 4);

LAYOUT(TB_STATUS_OK == 0 && TB_STATUS_NULL_POINTER == 1 && TB_STATUS_INVALID_HANDLE == 2);
LAYOUT(TB_STATUS_INVALID_ARGUMENT == 3 && TB_STATUS_SHAPE_MISMATCH == 4 && TB_STATUS_DTYPE_MISMATCH == 5);
LAYOUT(TB_STATUS_NOT_FOUND == 6 && TB_STATUS_IO == 7 && TB_STATUS_FORMAT == 8 && TB_STATUS_UNSUPPORTED == 9);
LAYOUT(TB_STATUS_DEVICE == 10 && TB_STATUS_DEVICE_LOST == 11 && TB_STATUS_OUT_OF_MEMORY == 12);
LAYOUT(TB_STATUS_CANCELLED == 13 && TB_STATUS_PANIC == 255);
LAYOUT(TB_DTYPE_F16 == 1 && TB_DTYPE_F32 == 2 && TB_DTYPE_F64 == 3);
LAYOUT(TB_DEVICE_AUTO == 0 && TB_DEVICE_CPU == 1 && TB_DEVICE_GPU == 2);
LAYOUT(TB_LOG_LEVEL_WARNING == 1 && TB_LOG_LEVEL_INFO == 2);
LAYOUT(TB_KINK_MAXPOOL == 0 && TB_KINK_RELU == 1);
LAYOUT(TB_JACOBIAN_NATIVE == 0 && TB_JACOBIAN_LAST == 1 && TB_JACOBIAN_MINIMAL == 2 && TB_JACOBIAN_BETA == 3);
LAYOUT(TB_JACOBIAN_RANDOM == 4);
LAYOUT(TB_COMPOSITION_EXACT == 0 && TB_COMPOSITION_SPLIT == 1 && TB_COMPOSITION_COUPLED == 2);

#endif
