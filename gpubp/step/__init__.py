"""One training step: batch, forward, loss, backward, update.

step           TrainingStep: forward, backward, update, in this order; runs and records them
passes         forward and backward pass, and the sums of loss and metrics over an epoch
epoch_sums     the numbers of an epoch from these sums
kept_rows      the rows of an epoch that metrics keep on the device
batch          copies rows, targets and row weights into the arrays of the step
               (forward and backward are the layers', in ../layers, and the loss's, in ../losses)
exact_sums     in exact numerics, sums over the vectors of an update, shared among workers
update         penalties, clipping, weight decay and the optimizer's rule (../optimizers), on all parameters at once
finite_guard   prevents the update in a step whose loss or gradients are not finite
workers        threads that divide one step, and the sums over them
multistep      several steps in one call, without Python in between
profile        where the time of a step goes
"""
