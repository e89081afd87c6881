"""Generation: what the tasks make of a batch, the networks, what is sampled, and how it is scored."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from sklearn.neighbors import NearestNeighbors

import jaxnn
from jaxnn import generation
from jaxnn.config.settings import Config
from jaxnn.errors import InputError
from jaxnn.nn.generative import autoencoder, flow_mlp, flow_unet
from jaxnn.pictures.grid import grid
from jaxnn.tasks import fidelity
from jaxnn.types import Batch, Model

SHAPE, CLASSES = (8, 8, 1), 3
DATA = {"shape": SHAPE, "classes": ["a", "b", "c"], "dtype": "float32", "scale": 1.0}
KEY = jax.random.key(0)


def images(n: int, dtype: Any = np.uint8) -> Batch:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 17, (n, *SHAPE)).astype(dtype)
    return Batch(jnp.asarray(x), jnp.asarray(rng.integers(0, CLASSES, n), jnp.int32), jnp.ones(n))


def example(batch: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batch)


def run_of(model: Model, params: Any, task: jaxnn.Task, data: dict[str, Any] = DATA, **settings: Any) -> jaxnn.Run:
    """A run that nobody trained."""
    config = Config(name="test", task=jaxnn.TaskConfig(name=task.name, **settings))
    return jaxnn.Run(config, model, params, task, data, lambda params, x: x)


def flow(**settings: Any) -> jaxnn.Task:
    return jaxnn.flow_matching(SHAPE, CLASSES, scale=16, **settings)


# ---- flow matching ----


def test_the_velocity_leads_from_noise_to_the_image():
    batch = images(2000)
    x, velocity, weight = jax.tree.map(np.asarray, jax.jit(flow().prepare)(batch, KEY))
    t = x["t"][:, None, None, None]
    start = x["x"] - t * velocity
    assert np.allclose(x["x"] + (1 - t) * velocity, np.asarray(batch.x) / 8 - 1, atol=1e-5)
    assert scipy.stats.kstest(start.ravel(), "norm").pvalue > 0.01
    assert scipy.stats.kstest(t.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(t.ravel(), start[:, 0, 0, 0])[0, 1]) < 0.1
    assert (weight == batch.weight).all()


@pytest.mark.long
def test_labels_are_one_hot_and_dropped_in_a_part_of_the_rows():
    batch = images(2000)
    label = np.asarray(flow().prepare(batch, KEY).x["label"])
    assert label.shape == (2000, CLASSES + 1) and (label.sum(1) == 1).all()
    dropped = label[:, -1] == 1
    assert scipy.stats.binomtest(int(dropped.sum()), 2000, 0.1).pvalue > 0.01
    assert (label.argmax(1) == np.where(dropped, CLASSES, batch.y)).all()
    assert not np.asarray(flow(label_dropout=0.0).prepare(batch, KEY).x["label"])[:, -1].any()


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("task", [flow(), jaxnn.vae(SHAPE, 4, scale=16)], ids=lambda task: task.name)
def test_without_a_key_the_noise_is_that_of_the_row_whatever_its_batch(task, dtype):
    batch = images(50, dtype)
    order = np.random.default_rng(1).permutation(50)[:20]
    prepare = jax.jit(lambda batch: task.prepare(batch, None))
    whole, part = prepare(batch), prepare(jax.tree.map(lambda a: a[order], batch))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        assert (np.asarray(a)[order] == b).all()
    drawn = np.asarray(whole.x["t"] if task.name == "flow_matching" else whole.x["noise"][:, 0])
    assert len(set(drawn.tolist())) == 50
    alike = np.zeros((289, *SHAPE), dtype)  # in all but two pixels
    alike[:, 0, 0, 0], alike[:, 7, 7, 0] = np.divmod(np.arange(289), 17)
    drawn = prepare(Batch(jnp.asarray(alike), jnp.zeros(289, jnp.int32), jnp.ones(289))).x
    numbers = drawn["t"] if task.name == "flow_matching" else scipy.stats.norm.cdf(drawn["noise"][:, 0])
    assert scipy.stats.kstest(np.asarray(numbers), "uniform").pvalue > 0.01


@pytest.mark.long
def test_with_a_key_a_row_draws_the_same_whatever_stands_behind_it():
    batch = images(20)
    padded = jax.tree.map(lambda a: jnp.concatenate([a, a[:12]]), batch)
    for a, b in zip(*(jax.tree.leaves(flow().prepare(rows, KEY)) for rows in (batch, padded)), strict=True):
        assert (a == b[:20]).all()


@pytest.mark.long
def test_the_loss_is_the_mean_square_and_rows_of_no_weight_count_nowhere():
    task, batch = flow(), images(6)
    velocity = task.prepare(batch, KEY).y
    outputs = jax.random.normal(KEY, velocity.shape)
    assert np.allclose(task.loss(outputs, velocity), np.square(outputs - velocity).mean((1, 2, 3)), rtol=1e-6)
    weight = jnp.array([1.0, 1, 1, 1, 0, 0])
    sums = jaxnn.metrics.measure(task, outputs.at[4:].set(jnp.nan), velocity, weight)
    expected = np.square(outputs - velocity)[:4].mean()
    assert math.isclose(float(task.summary(sums)["loss"]), expected, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: jaxnn.flow_matching((8, 8), 3, scale=16), "x=[8, 8]: flow_matching generates images [H, W, C]"),
        (lambda: jaxnn.flow_matching(SHAPE, 0, scale=16), "classes=0: must be >= 1"),
        (lambda: jaxnn.flow_matching(SHAPE, 3, scale=0), "scale=0: must be finite and > 0"),
        (lambda: flow(label_dropout=1.0), "--task.label_dropout=1.0: must be in [0, 1)"),
        (lambda: flow().check(np.array([0, 1, 3])), "labels[2]=3: must be in [0, 3)"),
        (lambda: jaxnn.vae(SHAPE, 0, scale=1), "--task.latent=0: must be >= 1"),
        (lambda: jaxnn.vae(SHAPE, 2, scale=1, beta=-1), "--task.beta=-1: must be finite and >= 0"),
        (lambda: jaxnn.vae(SHAPE, 2, scale=1, deviation=0), "--task.deviation=0: must be finite and > 0"),
        (lambda: jaxnn.vae((3,), 2, scale=1), "x=[3]: vae generates images"),
        (lambda: flow_unet((10, 8, 1), (4, 8)), "x=[10, 8, 1]: 2 levels need a height and width that are multiples"),
    ],
)
def test_what_no_task_or_network_can_be_made_of_is_refused(call, told):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(told)


# ---- the variational autoencoder ----


def gaussian_log_density(x: np.ndarray, mean: np.ndarray, covariance: Any) -> np.ndarray:
    return scipy.stats.multivariate_normal(mean, covariance).logpdf(x)


def kl_of_gaussians(m: np.ndarray, s: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    inverse, d = np.linalg.inv(covariance), mean - m
    logs = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(s)[1]
    return float(np.trace(inverse @ s) + d @ inverse @ d - len(m) + logs) / 2


@pytest.mark.long
def test_the_elbo_of_a_linear_vae_falls_short_of_the_likelihood_by_the_divergence_from_the_posterior():
    shape, latent, deviation = (2, 3, 1), 2, 0.3
    with jax.enable_x64(True):
        task, model = jaxnn.vae(shape, latent, scale=1, deviation=deviation), autoencoder(shape, latent, ())
        x = jax.random.uniform(KEY, (4, *shape), jnp.float64)
        params = model.init(KEY, {"x": x[0], "noise": jnp.zeros(latent)})
        random = lambda a: jax.random.normal(jax.random.key(a.size), a.shape, jnp.float64) / 2
        params = jax.tree.map(random, params)
        # The variance of q is one for all x, and the mean over these points that of any square of the noise.
        w = params["encoder"]["dense_0"]["w"]
        params["encoder"]["dense_0"]["w"] = w.at[latent:].set(0)
        points = math.sqrt(latent) * np.concatenate([np.eye(latent), -np.eye(latent)])
        rows = lambda noise: {"x": x, "noise": jnp.broadcast_to(jnp.asarray(noise), (4, latent))}
        elbo = -np.mean([task.loss(model.apply(params, rows(noise)), x) for noise in points], axis=0)
    (encoder, decoder), flat = ((params[k]["dense_0"] for k in ("encoder", "decoder")), np.asarray(x).reshape(4, -1))
    encoder, decoder = (jax.tree.map(np.asarray, layer) for layer in (encoder, decoder))
    b, w = decoder["b"], decoder["w"]
    likelihood = gaussian_log_density(flat, b, w @ w.T + deviation**2 * np.eye(6))
    covariance = np.linalg.inv(np.eye(latent) + w.T @ w / deviation**2)
    for i, image in enumerate(flat):
        about = encoder["w"] @ image + encoder["b"]
        posterior = covariance @ w.T @ (image - b) / deviation**2
        gap = kl_of_gaussians(about[:latent], np.diag(np.exp(about[latent:])), posterior, covariance)
        assert gap > 0.1 and abs(likelihood[i] - elbo[i] - gap) < 1e-9


@pytest.mark.long
def test_the_terms_of_the_elbo_are_sums_over_pixels_and_over_the_latent():
    task, batch = jaxnn.vae(SHAPE, 4, scale=16, beta=3.0), images(5)
    prepared = task.prepare(batch, KEY)
    outputs = jax.random.normal(KEY, (5, 64 + 8))
    logits, mean, log_variance = np.split(np.asarray(outputs, np.float64), [64, 68], axis=1)
    x = np.asarray(batch.x).reshape(5, 64) / 16
    p = scipy.special.expit(logits)
    reconstruction = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(1)
    kl = [
        kl_of_gaussians(m, np.diag(np.exp(v)), np.zeros(4), np.eye(4)) for m, v in zip(mean, log_variance, strict=True)
    ]
    assert np.allclose(task.loss(outputs, prepared.y), reconstruction + 3 * np.array(kl), rtol=1e-5)
    weight = jnp.array([1.0, 2, 1, 1, 0])
    found = task.summary(jaxnn.metrics.measure(task, outputs.at[4].set(jnp.nan), prepared.y, weight))
    for name, each in (("reconstruction", reconstruction), ("kl", kl)):
        assert math.isclose(float(found[name]), np.average(each, weights=weight), rel_tol=1e-5)
    assert np.allclose(task.link(outputs).reshape(5, 64), p, atol=1e-6)


# ---- networks ----


@pytest.mark.long
@pytest.mark.parametrize("model", [flow_mlp(SHAPE, 2, 16), flow_unet(SHAPE, (4, 8))], ids=["mlp", "unet"])
def test_leading_axes_of_a_velocity_are_free(model):
    x, apply = jax.jit(flow().prepare)(images(6), KEY).x, jax.jit(model.apply)
    params = jax.jit(lambda key: model.init(key, example(x)))(KEY)
    outputs = apply(params, x)
    assert outputs.shape == (6, *SHAPE)
    assert np.allclose(outputs, jax.jit(jax.vmap(model.apply, (None, 0)))(params, x), atol=1e-5)
    for name in ("x", "t", "label"):  # each has a part in the velocity
        other = x | {name: x[name][::-1]}
        assert not np.allclose(outputs, apply(params, other), atol=1e-4), name


@pytest.mark.long
def test_leading_axes_of_an_autoencoder_are_free():
    model, x = autoencoder(SHAPE, 4, (16,)), jaxnn.vae(SHAPE, 4, scale=16).prepare(images(6), KEY).x
    params = jax.jit(lambda key: model.init(key, example(x)))(KEY)
    outputs, each = jax.jit(model.apply)(params, x), jax.jit(jax.vmap(model.apply, (None, 0)))(params, x)
    assert outputs.shape == (6, 72) and np.allclose(outputs, each, atol=1e-5)
    about = np.asarray(outputs)[:, 64:]
    z = about[:, :4] + np.exp(about[:, 4:] / 2) * np.asarray(x["noise"])
    assert np.allclose(model.apply(params, {"z": jnp.asarray(z)}), outputs[:, :64], atol=1e-5)


# ---- samples ----


def linear_flow(matrix: np.ndarray) -> Any:
    return lambda x, t: jnp.asarray(matrix, jnp.float32) @ x


def test_heun_follows_a_linear_flow_with_an_error_of_second_order():
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    x = np.array([1.0, -2.0, 0.5])
    exact = scipy.linalg.expm(matrix) @ x
    errors = [abs(generation.heun(linear_flow(matrix), jnp.asarray(x, jnp.float32), n) - exact).max() for n in (8, 16)]
    assert 3 < errors[0] / errors[1] < 5


@pytest.mark.long
def test_the_velocity_of_gaussian_images_leads_to_their_mean_and_deviation():
    mean, deviation = 0.3, 0.2

    def velocity(params: Any, x: Any, key: Any = None) -> jax.Array:
        t = x["t"][:, None, None, None]
        spread = (1 - t) ** 2 + (t * deviation) ** 2
        return mean + (t * deviation**2 - (1 - t)) / spread * (x["x"] - t * mean)

    run = run_of(Model(lambda key, x: {}, velocity), {}, flow())
    found = jaxnn.sample(run, KEY, 3, label="b", steps=400)
    noise = np.stack([jax.random.normal(jax.random.fold_in(KEY, i), SHAPE) for i in range(3)])
    assert np.allclose(found, (mean + deviation * noise + 1) / 2, atol=1e-3)


def test_guidance_goes_beyond_the_velocity_of_the_label():
    def velocity(params: Any, x: Any, key: Any = None) -> jax.Array:
        towards = x["label"] @ jnp.array([0.0, 0.1, 0.0, 0.4])
        return jnp.broadcast_to(towards[:, None, None, None], x["x"].shape) - 3 * x["x"]

    run = run_of(Model(lambda key, x: {}, velocity), {}, flow())
    plain, guided, other = (jaxnn.sample(run, KEY, 1, label="b", guidance=g) for g in (0.0, 1.0, 2.0))
    change = (0.1 - 0.4) * (1 - math.exp(-3)) / 3 / 2  # of dx/dt = c - 3 x, in images of 0 to 1
    assert np.allclose(guided - plain, change, rtol=1e-2) and np.allclose(other - guided, change, rtol=1e-2)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mlp", "unet", "vae"])
def test_image_i_does_not_depend_on_how_many_there_are(kind):
    if kind == "vae":
        task = jaxnn.vae(SHAPE, 4, scale=16)
        model, settings, asked = autoencoder(SHAPE, 4, (16,)), {"latent": 4}, {}
    else:
        task, settings, asked = flow(), {}, {"label": "a", "steps": 2, "guidance": 0.5}
        model = flow_mlp(SHAPE, 2, 16) if kind == "mlp" else flow_unet(SHAPE, (4, 8))
    prepared = jax.eval_shape(task.prepare, images(2), KEY).x
    params = jax.jit(lambda key: model.init(key, example(prepared)))(KEY)
    run = run_of(model, params, task, DATA, **settings)
    most = jaxnn.sample(run, KEY, 2 * generation.BLOCK + 3, **asked)
    assert most.shape == (131, *SHAPE) and most.dtype == np.float32 and most.min() >= 0 and most.max() <= 1
    assert len(np.unique(most, axis=0)) == 131
    for n in (1, 2, 63, 64, 65, 130):
        assert (jaxnn.sample(run, KEY, n, **asked) == most[:n]).all()
    assert not (jaxnn.sample(run, jax.random.key(1), 2, **asked) == most[:2]).all()
    whole = run._replace(data={**DATA, "dtype": "uint8", "scale": 16.0})
    assert (jaxnn.sample(whole, KEY, 5, **asked) == np.round(most[:5] * 16)).all()


def test_what_cannot_be_sampled_is_refused():
    model, task = flow_mlp(SHAPE, 1, 4), flow()
    params: Any = {}  # none are looked at
    run, unlabelled = run_of(model, params, task), run_of(model, params, flow(label_dropout=0.0), label_dropout=0.0)
    of_vae, classifier = run_of(model, params, jaxnn.vae(SHAPE, 2, scale=1)), run_of(model, params, jaxnn.multiclass(3))
    for told, given, asked in (
        ("n=0: must be a whole number >= 1", run, {"n": 0}),
        ("n=2.0: must be a whole number >= 1", run, {"n": 2.0}),
        ("steps=0: must be a whole number >= 1", run, {"steps": 0}),
        ("guidance=-1.0: must be finite and >= 0", run, {"guidance": -1.0}),
        ("label=d: unknown; ", run, {"label": "d"}),
        ("guidance=1.0: needs a label; give one", run, {"guidance": 1.0}),
        ("label=None: the run was trained with --task.label_dropout 0", unlabelled, {}),
        ("guidance=1.0: needs a run that was trained without labels", unlabelled, {"guidance": 1.0, "label": "a"}),
        ("label=a: a vae learns no labels", of_vae, {"label": "a"}),
        ("guidance=1.0: a vae learns no labels", of_vae, {"guidance": 1.0}),
        ("run=multiclass: generates no images", classifier, {}),
    ):
        with pytest.raises(InputError) as error:
            jaxnn.sample(given, KEY, **{"n": 1, **asked})
        assert str(error.value).startswith(told)


# ---- scores and pictures ----


def test_the_frechet_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 1
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root: Any = scipy.linalg.sqrtm(of_a @ of_b)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(of_a + of_b - 2 * root.real)
    assert math.isclose(fidelity.frechet_distance(a, b), expected, rel_tol=1e-9)
    assert (
        abs(fidelity.frechet_distance(a[:, :1], 2 + 3 * a[:, :1]) - ((2 + 2 * a[:, 0].mean()) ** 2 + 4 * of_a[0, 0]))
        < 1e-9
    )
    with pytest.raises(InputError, match="must be two rows or more each"):
        fidelity.frechet_distance(a, b[:, :5])


def test_the_nearest_distance_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 2, 3)), rng.normal(size=(70, 2, 3))
    expected = NearestNeighbors(n_neighbors=1).fit(b.reshape(70, 6)).kneighbors(a.reshape(300, 6))[0].mean()
    assert math.isclose(fidelity.nearest_distance(a, b), expected, rel_tol=1e-12)


def test_the_accepted_are_those_whose_class_is_the_one_asked_for():
    p = np.array([[0.95, 0.05], [0.2, 0.8], [0.1, 0.9]])
    assert fidelity.accepted(p, np.array([1, 1, 1])) == 1 / 3 and fidelity.accepted(p) == 2 / 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_has_each_picture_in_its_place(channels):
    pictures = np.random.default_rng(0).integers(0, 256, (7, 8, 10, channels), np.uint8)
    sheet = grid(pictures, columns=3)
    assert sheet.shape == (2 + 3 * 66, 2 + 3 * 82, channels)
    for i, picture in enumerate(pictures):
        top, left = 2 + i // 3 * 66, 2 + i % 3 * 82
        assert (sheet[top : top + 64 : 8, left : left + 80 : 8] == picture).all()
        assert (sheet[top + 7 : top + 64 : 8, left + 7 : left + 80 : 8] == picture).all()
        sheet[top : top + 64, left : left + 80] = 128
    assert (sheet == 128).all()
    for bad, columns in ((pictures, 0), (pictures[:0], 3), (pictures / 255, 3), (pictures[0], 3)):
        with pytest.raises(InputError):
            grid(bad, columns)
