// All kernels of this folder in one module. Arguments, grids, blocks and shared bytes: README.md.
#include <cmath>

#include "adamw.cuh"
#include "columns.cuh"
#include "gradients.cuh"
#include "log_prob.cuh"
#include "norm.cuh"
#include "rope.cuh"
#include "rows.cuh"
#include "swiglu.cuh"
