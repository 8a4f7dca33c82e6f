/* dispatch.h — which compiled variants there are, and which of them this processor can run. */
#ifndef MLP_DISPATCH_H
#define MLP_DISPATCH_H

#include "mlp_core.h"
#include "machine/team.h"

/* Names of the compiled instruction sets, best first, NULL at the end. */
extern const char *const mlp_isa_names[];
/* 1 if this processor can run the named one. */
int mlp_isa_runs(const char *name);
/* Its kernels for float64 (is_double) or float32; NULL if there are none. */
const kernels_t *mlp_kernels(const char *name, int is_double);

/* Compiler and flags of this build. */
const char *mlp_build(void);

extern const char *const mlp_activation_names[];
extern const int mlp_activation_keeps_z[];
extern const char *const mlp_loss_names[];
extern const char *const mlp_solver_names[];
extern const int mlp_solver_moments[];

#endif
